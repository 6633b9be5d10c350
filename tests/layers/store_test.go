package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"berth/rootfs/layer"
	"berth/tests/layers/stack"
)

// store is a store that tests work on with the program, and images to pull into it.
type store struct {
	t      testing.TB
	dir    string // of everything
	root   string
	binary string
}

// The images: app has both layers of base, and one more.
const (
	baseImage = "layer gzip\n  dir bin\n  file bin/sh \"sh\"*4000 mode=0755\nlayer zstd\n  dir etc\n  file etc/motd hello\n  dir var\n  file var/%N x\n"
	appImage  = baseImage + "layer\n  dir app\n  file app/page \"page\"*20000\n  whiteout etc/motd\n"
)

// newStore makes images and an empty store in dir.
func newStore(t testing.TB, dir string) *store {
	t.Helper()
	s := &store{t, dir, filepath.Join(dir, "store"), binary(t, "berth-layer", "BERTH_LAYER")}
	for name, text := range map[string]string{"base": baseImage, "app": appImage} {
		layers, err := stack.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := layers.WriteLayout(s.path(name), nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *store) path(name string) string { return filepath.Join(s.dir, name) }

// output is what a command said.
type output struct {
	out, err string
	status   int // -1 for one that was killed
}

// command is berth-layer on the store, behind the words in front of it.
func (s *store) command(front []string, args ...string) *exec.Cmd {
	words := append(append(append([]string{}, front...), s.binary, "--root", s.root), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = s.dir
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (s *store) try(args ...string) output { return s.finish(s.command(nil, args...)) }

func (s *store) finish(cmd *exec.Cmd) output {
	s.t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return output{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// run wants a command to succeed.
func (s *store) run(args ...string) string {
	s.t.Helper()
	o := s.try(args...)
	if o.status != 0 {
		s.t.Fatalf("berth-layer %q: status %d\n%s%s", args, o.status, o.out, o.err)
	}
	return o.out
}

// faults are what fsck finds.
func (s *store) faults(flags ...string) []layer.Fault {
	s.t.Helper()
	o := s.try(append([]string{"--json", "fsck"}, flags...)...)
	var found []layer.Fault
	if err := json.Unmarshal([]byte(o.out), &found); err != nil {
		s.t.Fatalf("fsck: %v\n%s%s", err, o.out, o.err)
	}
	return found
}

// whole wants fsck to find nothing but what is allowed, and nothing at all after a repair.
func (s *store) whole(allowed string) {
	s.t.Helper()
	for _, f := range s.faults() {
		if f.What != allowed {
			s.t.Fatalf("fsck: %+v", f)
		}
	}
	s.faults("--repair")
	s.clean()
}

func (s *store) clean() {
	s.t.Helper()
	if found := s.faults(); len(found) > 0 {
		s.t.Fatalf("fsck: %+v", found)
	}
}

// unmounted wants nothing mounted below the store's directory.
func (s *store) unmounted() {
	s.t.Helper()
	left, err := mountsBelow(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(left) > 0 {
		s.t.Fatalf("mounted: %q", left)
	}
}

// empty removes all images and wants nothing of the store to stay.
func (s *store) empty() {
	s.t.Helper()
	for _, image := range s.images() {
		s.run("rmi", image)
	}
	s.run("prune", "--partial", "0s")
	for _, dir := range []string{"blobs/sha256", "layers/sha256", "bundles", "tmp", "partial", "trash"} {
		left, err := os.ReadDir(filepath.Join(s.root, dir))
		if err != nil {
			s.t.Fatal(err)
		}
		if len(left) > 0 {
			s.t.Fatalf("%s: %v", dir, left)
		}
	}
}

func (s *store) images() []string {
	s.t.Helper()
	var list []struct{ Names []string }
	if err := json.Unmarshal([]byte(s.run("--json", "images")), &list); err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Names...)
	}
	return names
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] mounts")
	}
}

// times is how often something is tried: what the variable says, or so often.
func times(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
