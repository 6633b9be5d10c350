package supervise

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// outputMax is how much of a hook's output its error quotes: the end.
const outputMax = 64 << 10

// HookCall is one run of one hook.
type HookCall struct {
	Hook  specs.Hook
	At    fault.Pointer // where the hook stands: /hooks/createRuntime/0
	State []byte        // the container's state, JSON, for the hook's standard input
	Dir   string        // working directory; "" is the runtime's
}

// argv is what execve(2) gets: as the specification says, args[0] need not be
// the path, and no args are just the path.
func (c HookCall) argv() []string {
	if len(c.Hook.Args) == 0 {
		return []string{c.Hook.Path}
	}
	return c.Hook.Args
}

// timeout is 0 where the hook may take as long as it likes.
func (c HookCall) timeout() time.Duration {
	if c.Hook.Timeout == nil || *c.Hook.Timeout <= 0 {
		return 0
	}
	return time.Duration(*c.Hook.Timeout) * time.Second
}

// HookStarter starts a hook with the two descriptors as its standard input and
// as both its standard output and error; they stay the caller's and are
// close-on-exec. It returns the pid of a child, which leads a process group of
// its own (setpgid(0, 0) or setsid) where it may have to be killed.
type HookStarter func(stdin, output int) (pid int, err error)

// RunHook runs a hook in the runtime's namespaces and waits for it. Its
// environment is the hook's env and nothing else. Where it fails, takes longer
// than its timeout, or ctx is cancelled, the error quotes the end of what it
// has written; otherwise that is discarded. On timeout and cancellation its
// process group is killed.
func RunHook(ctx context.Context, c HookCall) error {
	// A hook that nothing here will kill stays in the runtime's process group,
	// where ^C reaches it: the runtime itself only collects the signal.
	own := c.timeout() != 0 || ctx.Done() != nil
	return SuperviseHook(ctx, c, func(stdin, output int) (int, error) {
		return syscall.ForkExec(c.Hook.Path, c.argv(), &syscall.ProcAttr{
			Dir:   c.Dir,
			Env:   c.Hook.Env,
			Files: []uintptr{uintptr(stdin), uintptr(output), uintptr(output)},
			Sys:   &syscall.SysProcAttr{Setpgid: own},
		})
	})
}

// SuperviseHook is RunHook for a hook that start starts, in whatever
// namespaces.
func SuperviseHook(ctx context.Context, c HookCall, start HookStarter) error {
	r := &hookRun{pidfd: -1, stdin: -1, output: -1, cancel: -1, pending: c.State}
	defer r.close()
	if err := r.run(ctx, c, start); err != nil {
		e := fail(err, "hook", c.Hook.Path)
		e.Path = c.Hook.Path
		return e.For(c.At).In(fault.PhaseHooks)
	}
	return nil
}

// hookRun is a running hook and the runtime's ends of what connects them. One
// poll serves them all, so there is no goroutine that could outlive it.
type hookRun struct {
	pid    int
	pidfd  int
	stdin  int // nonblocking; -1 once all is written
	output int // nonblocking; -1 at its end
	cancel wake

	pending []byte // of the state
	quoted  tail
}

func (r *hookRun) run(ctx context.Context, c HookCall, start HookStarter) error {
	if err := r.launch(start); err != nil {
		return err
	}
	cancelled, err := r.watch(ctx)
	if err != nil {
		return err
	}
	defer cancelled()
	reason := r.serve(deadline(c.timeout()))
	status, err := r.reap()
	switch {
	case reason == hookTimeout:
		return r.failed(fmt.Sprintf("timed out after %ds", *c.Hook.Timeout), "hook-timeout")
	case reason == hookCancelled:
		return r.failed(context.Cause(ctx).Error(), "hook-cancelled")
	case err != nil:
		return &fault.Error{Msg: "wait for it", Errno: fault.From(err, "", "").Errno}
	case status != 0:
		return r.failed(status.String(), "hook-failed")
	}
	return nil
}

// failed is the error without what SuperviseHook knows.
func (r *hookRun) failed(what, code string) *fault.Error {
	if text := r.quoted.text(); text != "" {
		what += ": " + text
	}
	return &fault.Error{Op: "hook", Msg: what, Code: code}
}

// launch makes the pipes and starts the hook.
func (r *hookRun) launch(start HookStarter) (err error) {
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(in[0])
	r.stdin = in[1]
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(out[1])
	r.output = out[0]
	if err := nonblocking(r.stdin, r.output); err != nil {
		return err
	}
	if r.pid, err = start(in[0], out[1]); err != nil {
		return err
	}
	if r.pidfd, err = unix.PidfdOpen(r.pid, 0); err != nil {
		r.abandon()
	}
	return err
}

func nonblocking(fds ...int) error {
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
	}
	return nil
}

// watch makes r.cancel readable when ctx is cancelled. The function it returns
// ends that, and waits until it is safe to close r.cancel.
func (r *hookRun) watch(ctx context.Context) (end func(), err error) {
	if ctx.Done() == nil {
		return func() {}, nil
	}
	if r.cancel, err = newWake(); err != nil {
		r.abandon()
		return nil, err
	}
	called := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { r.cancel.set(); close(called) })
	return func() {
		if !stop() {
			<-called
		}
	}, nil
}

// Why a hook was killed.
type hookReason int

const (
	hookEnded hookReason = iota
	hookTimeout
	hookCancelled
)

// serve feeds the hook, listens to it and returns when it has ended, which
// after the deadline means when it has been killed. The hook itself is what
// counts: a process that it leaves behind with its output open keeps nobody
// waiting.
func (r *hookRun) serve(deadline time.Time) (reason hookReason) {
	cancel := int(r.cancel)
	for {
		fds := [...]unix.PollFd{readable(r.pidfd), readable(r.output), writable(r.stdin), readable(cancel)}
		if _, err := poll(fds[:], deadline); err != nil {
			r.kill()
			return reason
		}
		if fds[1].Revents != 0 {
			r.listen()
		}
		if fds[2].Revents != 0 {
			r.feed()
		}
		switch {
		case fds[0].Revents != 0:
			r.listen()
			return reason
		case passed(deadline): // also where poll returns for a hook that never stops writing
			reason = hookTimeout
		case fds[3].Revents != 0:
			reason = hookCancelled
		}
		if reason != hookEnded {
			r.kill()
			deadline, cancel = time.Time{}, -1
		}
	}
}

// feed writes what the pipe takes. A hook need not read its state.
func (r *hookRun) feed() {
	n, err := write(r.stdin, r.pending)
	if err == nil {
		r.pending = r.pending[n:]
	}
	if len(r.pending) == 0 || err != nil && err != unix.EAGAIN {
		closeFD(&r.stdin)
	}
}

// listen reads what is there, at most as much as a pipe holds by default, so
// that a hook which writes without end cannot keep the runtime from its timeout.
func (r *hookRun) listen() {
	var buffer [chunk]byte
	for range 16 {
		n, err := read(r.output, buffer[:])
		if err != nil {
			return
		}
		if n == 0 {
			closeFD(&r.output)
			return
		}
		r.quoted.add(buffer[:n])
	}
}

// kill ends the hook and what it has started in its process group. The hook
// has not been waited for, so neither number can mean another process.
func (r *hookRun) kill() {
	_ = unix.Kill(-r.pid, unix.SIGKILL)
	_ = unix.Kill(r.pid, unix.SIGKILL)
}

// abandon ends a hook that cannot be supervised.
func (r *hookRun) abandon() {
	r.kill()
	_, _ = r.reap()
}

// reap waits for a hook that has ended or been killed. Where somebody else has
// done that, nobody knows whether the hook has succeeded.
func (r *hookRun) reap() (ExitStatus, error) {
	var w unix.WaitStatus
	_, err := retry(func() (int, error) { return unix.Wait4(r.pid, &w, 0, nil) })
	return ExitStatus(w), err
}

func (r *hookRun) close() {
	closeFD(&r.pidfd)
	closeFD(&r.stdin)
	closeFD(&r.output)
	closeFD((*int)(&r.cancel))
}

func closeFD(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

func deadline(timeout time.Duration) time.Time {
	if timeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

func passed(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// tail keeps the end of what is added.
type tail struct{ kept []byte }

func (t *tail) add(b []byte) {
	t.kept = append(t.kept, b...)
	if len(t.kept) > 2*outputMax {
		t.kept = append(t.kept[:0], t.last()...)
	}
}

func (t *tail) last() []byte { return t.kept[max(0, len(t.kept)-outputMax):] }

// text is one line for an error: the lines of the output, without their
// indentation, separated by " | ".
func (t *tail) text() string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(t.last()), "?")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " | ")
}
