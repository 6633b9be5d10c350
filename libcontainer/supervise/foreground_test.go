package supervise

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runtimeRun is a runtime in a process of its own; see helperForeground.
type runtimeRun struct {
	*exec.Cmd
	out   *bufio.Reader
	stdin io.WriteCloser
}

// run starts a runtime whose init runs a script, and returns when it collects
// signals.
func run(t *testing.T, script string, env ...string) *runtimeRun {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", script)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Env = append(append(os.Environ(), "SUPERVISE_HELPER=foreground"), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endRun(cmd) })
	r := &runtimeRun{cmd, bufio.NewReader(stdout), stdin}
	r.expect(t, "collecting")
	return r
}

// endRun ends a runtime and, which a failed test may have left behind, its
// init: both are in a process group of their own.
func endRun(cmd *exec.Cmd) {
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Wait()
}

func (r *runtimeRun) expect(t *testing.T, line string) {
	t.Helper()
	soon(t, "output "+line, func() {
		if got, err := r.out.ReadString('\n'); strings.TrimSuffix(got, "\n") != line {
			t.Errorf("got %q (%v), want %q", got, err, line)
		}
	})
}

// finish returns the rest of the output and the exit status.
func (r *runtimeRun) finish(t *testing.T) (rest string, code int) {
	t.Helper()
	soon(t, "the runtime's end", func() {
		b, _ := io.ReadAll(r.out)
		_ = r.Wait()
		rest = string(b)
	})
	return rest, r.ProcessState.ExitCode()
}

func TestForegroundExitStatus(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0},
		{"exit 1", 1},
		{"exit 255", 255},
		{"kill -KILL $$", 137},
		{"kill -TERM $$", 143},
		{"kill -USR1 $$", 138},
	} {
		if _, code := run(t, c.script).finish(t); code != c.want {
			t.Errorf("%s: got %d, want %d", c.script, code, c.want)
		}
	}
}

const trapAll = `trap "echo got; exit 7" %; echo ready; while :; do sleep 0.01; done`

func TestForegroundForwards(t *testing.T) {
	for name, sig := range map[string]unix.Signal{
		"HUP": unix.SIGHUP, "INT": unix.SIGINT, "TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "QUIT": unix.SIGQUIT,
		"CONT": unix.SIGCONT, "ALRM": unix.SIGALRM, "40": 40,
	} {
		r := run(t, strings.Replace(trapAll, "%", name, 1))
		r.expect(t, "ready")
		if err := r.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "got")
		if _, code := r.finish(t); code != 7 {
			t.Errorf("%s: exit status %d", name, code)
		}
	}
}

// None of these reaches init, nor ends the runtime.
func TestForegroundKeeps(t *testing.T) {
	r := run(t, `trap "echo bad" CHLD WINCH URG PIPE; trap "echo got; exit 7" TERM; echo ready; while :; do read x; done`)
	r.expect(t, "ready")
	for _, sig := range []unix.Signal{unix.SIGWINCH, unix.SIGURG, unix.SIGPIPE, unix.SIGCHLD, unix.SIGTERM} {
		if err := r.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(t, "got")
	if rest, code := r.finish(t); code != 7 || rest != "" {
		t.Errorf("exit status %d, %q", code, rest)
	}
}

func TestForegroundSignalBeforeInit(t *testing.T) {
	r := run(t, "exec sleep 100", "HELPER_WAIT=1")
	if err := r.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := r.stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, code := r.finish(t); code != 143 {
		t.Errorf("exit status %d", code)
	}
}

func TestForegroundNohup(t *testing.T) {
	if _, err := exec.LookPath("nohup"); err != nil {
		t.Skip("[nohup] needs nohup")
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nohup", exe, `trap "echo got; exit 7" TERM; trap - HUP; echo ready; while :; do sleep 0.01; done`)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "SUPERVISE_HELPER=foreground")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endRun(cmd) })
	r := &runtimeRun{cmd, bufio.NewReader(stdout), nil}
	r.expect(t, "collecting")
	r.expect(t, "ready")
	_ = cmd.Process.Signal(unix.SIGHUP)
	_ = cmd.Process.Signal(unix.SIGTERM)
	r.expect(t, "got")
	if _, code := r.finish(t); code != 7 {
		t.Errorf("exit status %d", code)
	}
}

// Orphans of the container come to a subreaper and must not stay zombies.
func TestForegroundReaps(t *testing.T) {
	dir := t.TempDir()
	// Each subshell leaves an orphan that ends at once.
	r := run(t, `for i in 1 2 3; do (sh -c 'echo $$ >>`+dir+`/pids' &); done; echo ready; while :; do sleep 0.01; done`, "HELPER_SUBREAPER=1")
	r.expect(t, "ready")
	eventually(t, "all orphans are reaped", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "pids"))
		pids := strings.Fields(string(b))
		if len(pids) != 3 {
			return false
		}
		for _, pid := range pids {
			if _, err := os.Stat("/proc/" + pid); err == nil {
				return false
			}
		}
		return true
	})
	_ = r.Process.Signal(unix.SIGTERM)
	if _, code := r.finish(t); code != 143 {
		t.Errorf("exit status %d", code)
	}
}

func TestForegroundNotAChild(t *testing.T) {
	s := collecting(t)
	_, err := Foreground(Options{Signals: s, Process: Process{Pid: os.Getppid()}})
	want := "wait for process " + strconv.Itoa(os.Getppid()) + ": no child processes; the process is no child of the runtime; something else has waited for it"
	if err == nil || err.Error() != want || !errors.Is(err, unix.ECHILD) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestForegroundDetach(t *testing.T) {
	code, err := Foreground(Options{Detach: true, Signals: collecting(t), Process: Process{Pid: os.Getpid()}})
	if code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}

func TestProcessSignal(t *testing.T) {
	child := sleeper(t)
	fd, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	p := Process{Pid: child.Process.Pid, Pidfd: pidfd}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := child.Wait(); err == nil || child.ProcessState.String() != "signal: terminated" {
		t.Errorf("%v", child.ProcessState)
	}
	for _, gone := range []Process{p, {Pid: p.Pid}} {
		if err := gone.Signal(unix.SIGTERM); err != nil {
			t.Errorf("a process that has ended: %v", err)
		}
	}
	if err := (Process{Pid: os.Getpid()}).Signal(1000); err == nil || !strings.Contains(err.Error(), "kill process ") {
		t.Errorf("got %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		status ExitStatus
		code   int
		text   string
	}{
		{0, 0, "exit status 0"},
		{3 << 8, 3, "exit status 3"},
		{9, 137, "killed by SIGKILL"},
		{11 | 0x80, 139, "killed by SIGSEGV"},
		{40, 168, "killed by signal 40"},
	} {
		if c.status.Code() != c.code || c.status.String() != c.text {
			t.Errorf("%#x: %d, %s", int(c.status), c.status.Code(), c.status)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for _, c := range []struct {
		deadline time.Time
		min, max int
	}{
		{time.Time{}, -1, -1},
		{time.Now().Add(-time.Hour), 0, 0},
		{time.Now().Add(time.Second), 900, 1001},
		{time.Now().Add(1e6 * time.Hour), 1<<31 - 1, 1<<31 - 1},
	} {
		if got := milliseconds(c.deadline); got < c.min || got > c.max {
			t.Errorf("%v: %d", c.deadline, got)
		}
	}
}
