package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

const module = "github.com/opencontainers/runtime-tools"

// workers is how many programs run at a time. They mostly sleep.
const workers = 3

// suite is the programs, built, and the runtime they are to judge.
type suite struct {
	runtime  string   // absolute path of the binary
	name     string   // its column in the list
	dir      string   // working directory of the programs: runtimetest and the root file system are found in it
	programs []string // names, sorted
	list     string   // path of expect.txt
	groups   sync.Mutex
}

// job is one program in one view.
type job struct{ program, view string }

// prebuilt tells that .cache has what would be built: the machine has no compiler.
func prebuilt() bool { return os.Getenv("BERTH_PREBUILT") != "" }

// prepare builds the programs below top/.cache (a second time this costs little) and finds the runtime binary.
func prepare(top, binary string) (*suite, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	s := &suite{
		runtime: path,
		name:    filepath.Base(path),
		dir:     filepath.Join(top, ".cache", "validation"),
		list:    filepath.Join(top, "tests", "validation", "expect.txt"),
	}
	if !prebuilt() {
		if err := build(filepath.Join(top, "tests", "validation", "suite"), s.dir); err != nil {
			return nil, err
		}
	}
	s.programs, err = programs(filepath.Join(s.dir, "programs"))
	return s, err
}

// build makes the validation programs and runtimetest, static because they run in the suite's little root file system, and
// puts that file system beside them.
func build(source, into string) error {
	bin := filepath.Join(into, "programs") + string(filepath.Separator)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if _, err := gotool(source, "build", "-ldflags=-s -w", "-o", bin, module+"/validation/...", module+"/cmd/runtimetest"); err != nil {
		return err
	}
	if err := os.Rename(bin+"runtimetest", filepath.Join(into, "runtimetest")); err != nil {
		return err
	}
	out, err := gotool(source, "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	archive := "rootfs-" + runtime.GOARCH + ".tar.gz"
	return shrink(filepath.Join(strings.TrimSpace(out), archive), filepath.Join(into, archive))
}

// applets are the programs of busybox that the suite's programs and hooks call.
var applets = strings.Fields("cat echo false ls sh sleep touch true")

// shrink copies the root file system with those names for busybox only, uncompressed. Each program unpacks it once or more,
// and an emulated processor takes longer for three hundred links than for the rest.
func shrink(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	plain, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	stored, err := gzip.NewWriterLevel(out, gzip.NoCompression)
	if err != nil {
		return err
	}
	if err := copyTar(tar.NewWriter(stored), tar.NewReader(plain)); err != nil {
		return err
	}
	return stored.Close()
}

func copyTar(out *tar.Writer, in *tar.Reader) error {
	for {
		h, err := in.Next()
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if h.Linkname == "busybox" && !slices.Contains(applets, path.Base(h.Name)) {
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}

func gotool(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("go %s: %w\n%s", args[0], err, exit.Stderr)
	}
	return string(out), err
}

func programs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// run runs the jobs, a few at a time, and calls done with each result, one call at a time.
// It returns what containers left in the cgroup hierarchies, which is then removed.
func (s *suite) run(jobs []job, done func(job, result)) []string {
	before := cgroupDirs()
	queue := make(chan job)
	var finished sync.Mutex
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for j := range queue {
				r := s.one(j)
				finished.Lock()
				done(j, r)
				finished.Unlock()
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	all.Wait()
	return sweep(uuidGroup, before)
}

// one runs a job. Programs that name their cgroup all use the same name, so they have to wait for each other.
func (s *suite) one(j job) result {
	if !namesGroup(j.program) {
		return start(s, j)
	}
	s.groups.Lock()
	defer s.groups.Unlock()
	before := cgroupDirs()
	r := start(s, j)
	r.Left = append(r.Left, sweep(namedGroup, before)...)
	return r
}

// again repeats a job that is listed as a race until it passes or the attempts are used up.
func (s *suite) again(j job, r result, l *list) result {
	if l.want(j.program, s.name, j.view) != race {
		return r
	}
	for n := 1; n < attempts && r.verdict() != "pass"; n++ {
		r = s.one(j)
	}
	return r
}

func namesGroup(program string) bool {
	return strings.HasPrefix(program, "linux_cgroups_") || program == "delete_resources" || program == "delete_only_create_resources"
}
