package supervise

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// sh is a hook that runs a script.
func sh(script string) HookCall {
	return HookCall{
		Hook: specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}},
		At:   "/hooks/createRuntime/0",
	}
}

func within(c HookCall, seconds int) HookCall {
	c.Hook.Timeout = &seconds
	return c
}

func given(c HookCall, state string) HookCall {
	c.State = []byte(state)
	return c
}

func TestRunHookErrors(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	at := " (config.json /hooks/createRuntime/0)"
	for _, c := range []struct {
		call HookCall
		want string
	}{
		{sh("exit 0"), ""},
		{sh("echo noise; exit 0"), ""},
		{sh("exit 3"), "hook /bin/sh: exit status 3" + at},
		{sh("echo out; echo err >&2; exit 1"), "hook /bin/sh: exit status 1: out | err" + at},
		{sh("kill -TERM $$"), "hook /bin/sh: killed by SIGTERM" + at},
		{within(sh("exit 4"), 5), "hook /bin/sh: exit status 4" + at},
		{within(sh("exit 0"), 5), ""},
		{
			HookCall{Hook: specs.Hook{Path: "/no/such/hook"}, At: "/hooks/createRuntime/0"},
			"hook /no/such/hook: no such file or directory" + at + "; the path of a hook, and the interpreter it names, are looked up in the namespaces in which it runs",
		},
		{
			HookCall{Hook: specs.Hook{Path: notExecutable}},
			"hook " + notExecutable + ": permission denied; a hook must be an executable file on a file system mounted without noexec",
		},
	} {
		err := RunHook(context.Background(), c.call)
		got := ""
		if err != nil {
			got = err.Error()
			var e *fault.Error
			if !errors.As(err, &e) || e.Phase != fault.PhaseHooks || e.Op != "hook" || e.Path != c.call.Hook.Path {
				t.Errorf("%v: %#v", c.call.Hook, e)
			}
		}
		if got != c.want {
			t.Errorf("%v:\n got %q\nwant %q", c.call.Hook.Args, got, c.want)
		}
	}
}

// What a hook sees: everything is as its entry says and nothing else is there.
//
//spec:84
func TestRunHookSees(t *testing.T) {
	t.Setenv("RUNTIME_SECRET", "x")
	dir := t.TempDir()
	for name, c := range map[string]struct {
		call HookCall
		want string
	}{
		"state":    {given(sh("cat; exit 1"), `{"id":"c1"}`), `{"id":"c1"}`},
		"no state": {sh("cat; exit 1"), ""},
		"env": {
			HookCall{Hook: specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "/usr/bin/env; exit 1"}, Env: []string{"A=1", "PWD=/", "OLDPWD="}}},
			"A=1",
		},
		"argv0":     {HookCall{Hook: specs.Hook{Path: "/bin/sh", Args: []string{"other", "-c", "echo $0; exit 1"}}}, "other"},
		"directory": {HookCall{Dir: dir, Hook: specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "pwd; exit 1"}}}, dir},
		"close on exec": {
			// ls has the directory open as 3
			sh(`ls /proc/self/fd; exit 1`), "0 | 1 | 2 | 3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := RunHook(context.Background(), c.call)
			got := strings.TrimPrefix(strings.TrimPrefix(quoted(t, err), "exit status 1"), ": ")
			if name == "env" && !strings.Contains(got, "SECRET") && strings.Contains(got, c.want) {
				return
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func quoted(t *testing.T, err error) string {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("no error of ours: %v", err)
	}
	return e.Msg
}

//spec:84
func TestRunHookEmptyEnv(t *testing.T) {
	t.Setenv("RUNTIME_SECRET", "x")
	call := HookCall{Hook: specs.Hook{Path: "/usr/bin/env"}}
	if err := RunHook(context.Background(), call); err != nil {
		t.Fatal(err)
	}
	call.Hook.Args = []string{"env", "sh", "-c", "env | grep -c SECRET; exit 1"}
	if got := quoted(t, RunHook(context.Background(), call)); got != "exit status 1: 0" && !strings.HasPrefix(got, "exit status 127") {
		t.Errorf("the runtime's environment leaks: %q", got)
	}
}

// A hook may ignore its state, however long that is, and may write as much as
// it likes.
func TestRunHookStreams(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	soon(t, "hooks that do not read, or write a lot", func() {
		for name, c := range map[string]HookCall{
			"closes stdin":       given(sh("exec <&-; exit 0"), long),
			"does not read":      given(sh("exit 0"), long),
			"reads all":          given(sh(`test $(wc -c) = 1048576`), long),
			"reads while writes": given(sh(`cat`), long),
			"writes 2 MB":        sh("head -c 2000000 /dev/zero"),
		} {
			if err := RunHook(context.Background(), c); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestRunHookQuotesTheEnd(t *testing.T) {
	got := quoted(t, RunHook(context.Background(), sh("head -c 300000 /dev/zero | tr '\\0' a; echo END; exit 1")))
	if !strings.HasSuffix(got, "aEND") || len(got) > outputMax+50 || len(got) < outputMax-50 {
		t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-10):])
	}
}

// A hook's child that keeps the output open does not keep the runtime waiting.
func TestRunHookLeavesDaemon(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	soon(t, "a hook that leaves a daemon", func() {
		if err := RunHook(context.Background(), sh("sleep 100 & echo $! >"+pidFile)); err != nil {
			t.Error(err)
		}
	})
	pid := readPid(t, pidFile)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func readPid(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

//spec:84
func TestRunHookTimeout(t *testing.T) {
	dir := t.TempDir()
	call := within(sh("echo before; sleep 101 & echo $! >"+dir+"/child; echo $$ >"+dir+"/self; trap '' TERM; sleep 102"), 1)
	begin := time.Now()
	err := RunHook(context.Background(), call)
	if got := quoted(t, err); got != "timed out after 1s: before" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(begin); took < time.Second || took > patience {
		t.Errorf("took %v", took)
	}
	for _, name := range []string{"self", "child"} {
		pid := readPid(t, filepath.Join(dir, name))
		eventually(t, name+" is dead", func() bool { return ended(pid) })
	}
}

func TestRunHookTimeoutWhileWriting(t *testing.T) {
	soon(t, "a hook that writes without end", func() {
		if got := quoted(t, RunHook(context.Background(), within(sh("exec yes"), 1))); !strings.HasPrefix(got, "timed out after 1s: y | y") {
			t.Errorf("got %.40q", got)
		}
	})
}

func TestSuperviseHookReapedElsewhere(t *testing.T) {
	err := SuperviseHook(context.Background(), sh(""), func(int, int) (int, error) {
		return orphan(t), nil
	})
	if !errors.Is(err, unix.ECHILD) {
		t.Errorf("got %v", err)
	}
}

// orphan is a process that ends soon and is somebody else's child.
func orphan(t *testing.T) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pid")
	if err := exec.Command("sh", "-c", "sleep 0.2 & echo $! >"+path).Run(); err != nil {
		t.Fatal(err)
	}
	return readPid(t, path)
}

// ended tells whether a process does not run any more; an orphan may still
// wait to be reaped by whoever reaps orphans here.
func ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

func TestRunHookCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		eventually(t, "the hook runs", func() bool { _, err := os.Stat(ready); return err == nil })
		cancel(errors.New("interrupted"))
	}()
	soon(t, "a cancelled hook", func() {
		if got := quoted(t, RunHook(ctx, sh(">"+ready+"; sleep 100"))); got != "interrupted" {
			t.Errorf("got %q", got)
		}
	})
}

func TestSuperviseHookStarterFails(t *testing.T) {
	err := SuperviseHook(context.Background(), sh(""), func(int, int) (int, error) { return 0, syscall.EAGAIN })
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v", err)
	}
}

func TestHooksLeaveNoDescriptor(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := openFDs(t)
	for _, c := range []HookCall{sh("exit 0"), sh("exit 1"), within(sh("cat"), 9), {Hook: specs.Hook{Path: "/none"}}} {
		_ = RunHook(ctx, given(c, strings.Repeat("x", 200000)))
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
