package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// backlog is how many signals may wait before init exists. Standard signals
// coalesce in the kernel, but not in this channel.
const backlog = 256

// Signals collects the signals of a foreground runtime, from NewSignals on.
// What arrives before there is an init to forward to waits for it.
type Signals struct {
	forward chan os.Signal
	child   chan os.Signal // one pending is enough: reap takes all
	resize  chan os.Signal // likewise
}

// NewSignals begins to collect. From now on a signal no longer ends the
// runtime; call Stop where the runtime gives up before Foreground.
func NewSignals() *Signals {
	s := &Signals{
		forward: make(chan os.Signal, backlog),
		child:   make(chan os.Signal, 1),
		resize:  make(chan os.Signal, 1),
	}
	signal.Notify(s.child, unix.SIGCHLD)
	signal.Notify(s.resize, unix.SIGWINCH)
	signal.Notify(s.forward, collected()...)
	return s
}

// Stop gives every signal its default action back.
func (s *Signals) Stop() {
	signal.Stop(s.forward)
	signal.Stop(s.child)
	signal.Stop(s.resize)
}

// collected lists what goes to the forward channel.
func collected() []os.Signal {
	list := make([]os.Signal, 0, 64)
	for sig := unix.Signal(1); sig <= 64; sig++ {
		// Notify would undo nohup(1).
		if collects(sig) && !signal.Ignored(sig) {
			list = append(list, sig)
		}
	}
	return list
}

func collects(sig unix.Signal) bool {
	switch sig {
	case unix.SIGCHLD, unix.SIGWINCH: // have channels of their own
		return false
	case unix.SIGURG: // the Go runtime preempts goroutines with it
		return false
	case unix.SIGTTIN, unix.SIGTTOU:
		// A runtime in the background must stop like any job when it touches
		// the terminal: with a handler that returns, tcsetattr(3) is restarted
		// and signalled again, for ever.
		return false
	}
	return true
}

// forwards tells whether a collected signal is init's. SIGPIPE is collected so
// that a reader of our output that goes away does not end us with the terminal
// still in raw mode, but it is about our output, not init's.
func forwards(sig os.Signal) bool { return sig != unix.SIGPIPE }

// ends tells whether a user who sends sig wants the runtime itself to end.
func ends(sig os.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT
}

// Process names a process to forward signals to and to wait for.
type Process struct {
	// Pid as the runtime sees it: of its child, or of an orphan that the
	// kernel gives to it because it is a subreaper.
	Pid int
	// Pidfd, if there is one, is used for signals. It stays the caller's.
	Pidfd *os.File
}

// Signal sends sig. A process that has ended is no error. Without a pidfd the
// pid is safe as long as nobody else waits for the process.
func (p Process) Signal(sig unix.Signal) error {
	var err error
	if p.Pidfd != nil {
		err = unix.PidfdSendSignal(int(p.Pidfd.Fd()), sig, nil, 0)
	} else {
		err = unix.Kill(p.Pid, sig)
	}
	if err == nil || err == unix.ESRCH {
		return nil
	}
	return fail(err, "kill", fmt.Sprintf("process %d", p.Pid)).In(fault.PhaseSignal)
}

// Wait forwards signals to p until it ends, and reaps every other child that
// ends in the meantime: as a subreaper the runtime gets orphans it has never
// heard of. resize is called for each SIGWINCH. Children of the runtime that
// somebody else waits for (hooks) must not run at the same time.
//
// It fails with ECHILD where p is no child of the runtime.
func (s *Signals) Wait(p Process, resize func()) (ExitStatus, error) {
	for {
		status, ended, err := Reap(p.Pid)
		if ended || err != nil {
			return status, err
		}
		select {
		case <-s.child:
		case <-s.resize:
			resize()
		case sig := <-s.forward:
			p.deliver(sig)
		}
	}
}

// deliver forwards one collected signal. That it cannot be delivered (a user
// namespace, a security module) is no reason to stop supervising.
func (p Process) deliver(sig os.Signal) {
	if number, ok := sig.(syscall.Signal); ok && forwards(sig) {
		_ = p.Signal(number)
	}
}

// ended waits for done, or for a signal by which the user tells that the
// runtime should wait no longer.
func (s *Signals) ended(done <-chan struct{}) bool {
	for {
		select {
		case <-done:
			return true
		case sig := <-s.forward:
			if ends(sig) {
				return false
			}
		}
	}
}

// Reap takes every child that has ended, without waiting, and tells whether
// pid was among them and how it ended. It fails with ECHILD where pid cannot
// be among them because there is no child left.
func Reap(pid int) (status ExitStatus, ended bool, err error) {
	for {
		var w unix.WaitStatus
		got, err := retry(func() (int, error) { return unix.Wait4(-1, &w, unix.WNOHANG, nil) })
		switch {
		case got == pid:
			status, ended = ExitStatus(w), true
		case err != nil && ended && errors.Is(err, unix.ECHILD):
			return status, true, nil
		case err != nil:
			return status, ended, fail(err, "wait for", fmt.Sprintf("process %d", pid))
		case got == 0:
			return status, ended, nil
		}
	}
}

// SetSubreaper makes the runtime the parent of its descendants' orphans
// (PR_SET_CHILD_SUBREAPER in prctl(2)), or ends that.
func SetSubreaper(on bool) error {
	var arg uintptr
	if on {
		arg = 1
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, arg, 0, 0, 0); err != nil {
		return fail(err, "prctl", "PR_SET_CHILD_SUBREAPER")
	}
	return nil
}
