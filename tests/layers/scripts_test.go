package layers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"berth/rootfs/layer/erofs"
	"berth/tests/layers/stack"
)

// The transcripts. In each, berth-layer has a store of its own, $BERTH_LAYER_ROOT; $ID names a container.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	for name, variable := range map[string]string{"berth": "BERTH", "berth-layer": "BERTH_LAYER"} {
		if err := os.Symlink(binary(t, name, variable), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("BERTH_LAYER_ROOT", filepath.Join(env.WorkDir, "store"))
			env.Setenv("ID", fmt.Sprintf("layers-%d-%s", os.Getpid(), filepath.Base(env.WorkDir)))
			env.Setenv("STATE", filepath.Join(env.WorkDir, "state"))
			env.Defer(func() { unmountBelow(env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"layout": layoutCommand, "status": statusCommand, "unmounted": unmountedCommand, "user": userCommand,
		},
		Condition: condition,
	})
}

// condition knows what a machine may not have.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0 && !testing.Short(), nil
	case "user": // to become: see userCommand
		return os.Geteuid() == 0 && !testing.Short() && has("newuidmap") && has("setpriv") && has("unshare"), nil
	case "erofs": // of files, as tests have them
		return os.Geteuid() == 0 && erofs.Probe(os.TempDir()) == nil, nil
	}
	if program, ok := strings.CutPrefix(name, "program:"); ok {
		return has(program), nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// nobody is the ordinary user of scripts.
const nobody = 65534

// userCommand (user COMMAND…) runs a command as an ordinary user whose home is $HOME and who has the subordinate ids that
// the files subuid and subgid say, where the script has them; else none.
func userCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: user COMMAND...")
	}
	const script = `for f in subuid subgid; do if test -f "$WORK/$f"; then mount --bind "$WORK/$f" /etc/$f; else mount --bind /dev/null /etc/$f; fi; done
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`
	home := ts.MkAbs("home")
	bin, _, _ := strings.Cut(ts.Getenv("PATH"), ":")
	for _, dir := range []string{filepath.Dir(bin), bin, filepath.Dir(ts.MkAbs(".")), ts.MkAbs(".")} {
		ts.Check(os.Chmod(dir, 0o755))
	}
	if err := os.Mkdir(home, 0o700); err == nil {
		ts.Check(os.Mkdir(home+"/run", 0o700))
		ts.Check(os.Chown(home, nobody, nobody))
		ts.Check(os.Chown(home+"/run", nobody, nobody))
	}
	for name, value := range map[string]string{"HOME": home, "XDG_DATA_HOME": home + "/data", "XDG_RUNTIME_DIR": home + "/run", "BERTH_LAYER_ROOT": ""} {
		ts.Setenv(name, value)
	}
	err := ts.Exec("unshare", append([]string{"-m", "--propagation", "private", "sh", "-c", script, "sh"}, args...)...)
	if neg != (err != nil) {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

// layoutCommand (layout DIR FILE) writes an image layout of the stack that FILE declares. A line "busybox" makes a file
// system in which a shell runs.
func layoutCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: layout DIR FILE")
	}
	var s stack.Stack
	for raw := range strings.Lines(ts.ReadFile(args[1])) {
		line, err := stack.ParseLine(raw)
		ts.Check(err)
		lines := []stack.Line{line}
		if line.Verb == "busybox" {
			lines, err = busybox()
			ts.Check(err)
		}
		for _, l := range lines {
			if l.Verb != "" {
				s, err = s.Add(l)
				ts.Check(err)
			}
		}
	}
	ts.Check(s.WriteLayout(ts.MkAbs(args[0]), nil))
}

// busybox are the members of a root file system with a shell.
func busybox() ([]stack.Line, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mode := []stack.Attr{{Key: "mode", Value: "0755"}}
	lines := []stack.Line{{Verb: "dir", Args: []string{"bin"}, Attrs: mode}, {Verb: "file", Args: []string{"bin/busybox", string(program)}, Attrs: mode}}
	for _, applet := range strings.Fields("sh cat echo ls rm mkdir touch ln sleep test stat id chown dd grep wc") {
		lines = append(lines, stack.Line{Verb: "link", Args: []string{"bin/" + applet, "bin/busybox"}})
	}
	return lines, nil
}

// statusCommand (status N COMMAND…) runs a command and wants it to exit with N.
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%s exited with %d, not %d", args[1], got, want)
	}
}

// unmountedCommand (unmounted) wants no mount below the script's directory.
func unmountedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: unmounted")
	}
	left, err := mountsBelow(ts.MkAbs("."))
	ts.Check(err)
	if len(left) > 0 {
		ts.Fatalf("mounted: %s", strings.Join(left, " "))
	}
}

// mountsBelow are the mount points below dir, the last one first.
func mountsBelow(dir string) ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo") // whole: the line of an overlay is longer than a bufio.Scanner takes
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		if point := strings.Fields(line)[4]; point == dir || strings.HasPrefix(point, dir+"/") {
			out = append(out, point)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// unmountBelow cleans up what a failed script has left mounted.
func unmountBelow(dir string) {
	left, _ := mountsBelow(dir)
	for _, m := range left {
		unix.Unmount(m, unix.MNT_DETACH)
	}
}

// binary is the path of a program under test.
func binary(t testing.TB, name, variable string) string {
	path := os.Getenv(variable)
	if path == "" {
		path = "../../bin/" + name
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s to test: run make first, or set %s (%v)", name, variable, err)
	}
	return path
}
