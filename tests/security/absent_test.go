package security

import (
	"debug/buildinfo"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// opened lists the files below dir that anybody opens for their content until stop is called.
func opened(t *testing.T, dir string) (stop func() []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	watched := map[int]string{}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			var wd int
			wd, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS)
			watched[wd] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() []string {
		defer unix.Close(fd)
		var out []string
		buffer := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buffer)
			if err != nil || n <= 0 {
				slices.Sort(out)
				return slices.Compact(out)
			}
			for at := 0; at < n; {
				event := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[at]))
				name := strings.TrimRight(string(buffer[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+int(event.Len)]), "\x00")
				at += unix.SizeofInotifyEvent + int(event.Len)
				if event.Mask&unix.IN_ISDIR == 0 {
					path, _ := filepath.Rel(dir, filepath.Join(watched[int(event.Wd)], name))
					out = append(out, path)
				}
			}
		}
	}
}

// No file of the image configures Berth: until its process is executed, nothing but /etc/passwd is opened, and that only
// for the HOME that config.json leaves out.
//
//cve:2025-24965
func TestNothingReadFromRootfs(t *testing.T) {
	l := start(t, "no-file-of-image")
	rootfs := l.bundle("b", nil)
	for _, name := range []string{".krun_vm.json", "krun-sev.json", "config.json", "state.json", ".berth.json", "etc/berth.json", "etc/environment"} {
		l.must(os.WriteFile(filepath.Join(rootfs, name), []byte(`{"cpus": 1, "hooks": {}}`), 0o644))
	}
	for _, home := range []bool{true, false} {
		l.tries++
		l.config("b", func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Args = []string{"true"}
			if !home {
				s.Process.Env = []string{"PATH=/bin"}
			}
		})
		stop := opened(t, rootfs)
		r := l.command(detached, "create", "--bundle", l.path("b"), l.name("b"))
		have := stop()
		if r.status != 0 {
			l.Fatal(r)
		}
		l.delete("b")
		var want []string
		if !home {
			want = []string{"etc/passwd"}
		}
		if !slices.Equal(have, want) {
			l.Errorf("HOME given: %v: opened %q, not %q", home, have, want)
		}
	}
	// The watch sees what is opened.
	stop := opened(t, rootfs)
	read(filepath.Join(rootfs, "config.json"))
	if have := stop(); !slices.Equal(have, []string{"config.json"}) {
		l.Errorf("the watch sees %q", have)
	}
}

// detached gives a command no pipes, which a container could keep open.
func detached(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = nil, nil }

// strace runs a command of Berth's under strace and returns what it did.
func (l *lab) strace(calls string, wrap func(*exec.Cmd), args ...string) string {
	l.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		l.Skip("[strace] needs strace")
	}
	out := l.path("trace")
	r := l.command(func(cmd *exec.Cmd) {
		if wrap != nil {
			wrap(cmd)
		}
		cmd.Args = append([]string{strace, "-f", "-s", "256", "-e", "trace=" + calls, "-o", out, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = strace
	}, args...)
	if r.status != 0 {
		l.Fatal(r)
	}
	return read(out)
}

var execLine = regexp.MustCompile(`(?m)execve(?:at)?\((?:\d+, )?"([^"]*)".*?(= -1.*)?$`)

// sealed is Berth's copy, executed by its descriptor.
var sealed = regexp.MustCompile(`^/proc/self/fd/\d+$`)

// No helper of the host's is started for a container, so none can be told by an image what to do: as root Berth executes
// its own sealed copy and the container's process, nothing else. There is no virtual machine and no network helper.
//
//cve:2026-84042
func TestNoHelperPrograms(t *testing.T) {
	l := start(t, "no-helpers")
	l.bundle("b", func(s *specs.Spec) {
		s.Process.Args = []string{"/bin/true"}
		s.Annotations = map[string]string{"run.oci.handler": "krun", "krun.passt": "/usr/bin/passt", "io.berth.handler": "krun"}
	})
	var have []string
	trace := l.strace("execve,execveat", nil, "run", "--bundle", l.path("b"), l.name("b"))
	for _, m := range execLine.FindAllStringSubmatch(trace, -1) {
		if m[2] != "" {
			continue // it was not there
		}
		have = append(have, sealed.ReplaceAllString(strings.TrimPrefix(m[1], l.dir), ""))
	}
	if want := []string{"/host/berth", "", "/bin/true"}; !slices.Equal(have, want) {
		l.Errorf("executed %q, not %q:\n%s", have, want, trace)
	}
	l.absent = "no virtual machine, no helper (execve traced)"
}

// The device program is queried with the whole, zeroed union bpf_attr: some kernels write behind a shorter one.
// (opencontainers/cgroups#69; no CVE.)
func TestDeviceQuery(t *testing.T) {
	l := start(t, "bpf-query")
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup/unified", &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		if fstype("/sys/fs/cgroup") != "cgroup2" {
			t.Skip("[cgroup2] no cgroup2 is mounted")
		}
	}
	l.bundle("b", func(s *specs.Spec) { s.Process.Args = []string{"/bin/true"} })
	// A view of the machine in which all of it is cgroup v2.
	view := func(cmd *exec.Cmd) {
		if fstype("/sys/fs/cgroup") == "cgroup2" {
			return
		}
		unshare, err := exec.LookPath("unshare")
		l.must(err)
		cmd.Args = append([]string{unshare, "-m", "--propagation", "private", "sh", "-c",
			`mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = unshare
	}
	size := regexp.MustCompile(`bpf\(BPF_PROG_QUERY, .*, (\d+)\) = `)
	trace := l.strace("bpf", view, "run", "--bundle", l.path("b"), l.name("b"))
	queries := size.FindAllStringSubmatch(trace, -1)
	if len(queries) == 0 {
		l.Fatalf("no query was made:\n%s", trace)
	}
	for _, q := range queries {
		l.tries++
		// The union has had 120 bytes since Linux 5.9; the query's part of it has grown to 64.
		if n, _ := strconv.Atoi(q[1]); n < 120 {
			l.Errorf("a query of %d bytes", n)
		}
	}
}

// The binary has few modules in it, each of them named here, and none that another runtime's holes came with. Where a
// vulnerability database can be reached, govulncheck has to find nothing either (make vulncheck). GO-2026-6238 is the one
// that runc's release was made for.
func TestLinkedModules(t *testing.T) {
	l := &lab{T: t, result: begin(t, "modules")}
	info, err := buildinfo.ReadFile(berth(t))
	if err != nil {
		t.Fatal(err)
	}
	linked := []string{
		"github.com/opencontainers/runtime-spec", "github.com/seccomp/libseccomp-golang", "github.com/urfave/cli/v2",
		"github.com/xrash/smetrics", "golang.org/x/sys",
	}
	for _, m := range info.Deps {
		l.tries++
		if !slices.Contains(linked, m.Path) || m.Replace != nil {
			l.Errorf("%s %s is in the binary", m.Path, m.Version)
		}
	}
	if l.tries == 0 {
		l.Error("the binary does not say what is in it")
	}
	if os.Getenv("GOVULNDB") == "" {
		conn, err := net.DialTimeout("tcp", "vuln.go.dev:443", 3*time.Second)
		if err != nil {
			l.note = "no vulnerability database can be reached: held to the list of modules only"
			return
		}
		conn.Close()
	}
	if out, err := exec.Command("make", "-C", "../..", "vulncheck").CombinedOutput(); err != nil {
		l.Errorf("%v: %s", err, out)
	}
}

// The program is made from config.json and the machine: nothing that an image has in it is a key, a format or a path of
// it. An image full of traps gets the program that an empty one gets.
func TestPlanKnowsNothingOfImage(t *testing.T) {
	l := start(t, "plan")
	rootfs := l.bundle("b", func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data/deep", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
		bind(s, "/usr", "/data/usr")
	})
	plan := func() string {
		l.tries++
		r := l.berth("plan", "--steps", "--bundle", l.path("b"), l.name("b"))
		if r.status != 0 {
			l.Fatal(r)
		}
		return r.out
	}
	before := plan()
	for _, d := range strings.Fields("proc sys dev etc tmp root data") {
		l.must(os.RemoveAll(filepath.Join(rootfs, d)))
		l.must(os.Symlink(l.host("dir")+"/]:", filepath.Join(rootfs, d)))
	}
	l.must(os.WriteFile(filepath.Join(rootfs, "%s%n]:=,\n"), nil, 0o644))
	if after := plan(); after != before || !strings.Contains(before, "pivot_root") {
		l.Errorf("the program depends on the image. It was\n%s\nand is\n%s", before, after)
	}
}
