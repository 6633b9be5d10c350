package supervise

// #cgo CFLAGS: -Wall -Wextra -Werror -O2
// #include "signals.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Signals collects the signals of a foreground runtime, from NewSignals on.
// What arrives before there is an init to forward to waits for it.
type Signals struct {
	set  uint64 // bit n-1: signal n is collected
	from int    // a pipe with a byte for each signal; -1 once stopped
	fill int    // its other end
	late []unix.Signal
}

// wakeUp is no signal's number: it ends a wait for one.
const wakeUp = 0

// NewSignals begins to collect. From now on a signal no longer ends the
// runtime; call Stop where the runtime gives up before Foreground. Only one
// can collect at a time.
func NewSignals() (*Signals, error) { return newSignals(collected()) }

func newSignals(set uint64) (*Signals, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fail(err, "pipe", "for signals")
	}
	// A handler must never wait for room in the pipe.
	if err := unix.SetNonblock(fds[1], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, fail(err, "fcntl", "the pipe for signals")
	}
	s := &Signals{set: set, from: fds[0], fill: fds[1]}
	if errno := C.signals_collect(C.int(fds[1]), C.uint64_t(s.set)); errno != 0 {
		s.set = 0 // nothing to give back
		s.Stop()
		return nil, fail(unix.Errno(errno), "sigaction", "")
	}
	return s, nil
}

// Stop gives every signal its former action back; what has been collected and
// not forwarded is left for pass.
func (s *Signals) Stop() {
	if s == nil || s.from < 0 {
		return
	}
	C.signals_restore(C.uint64_t(s.set))
	_, _ = write(s.fill, []byte{wakeUp})
	_ = unix.SetNonblock(s.from, true)
	var buffer [256]byte
	n, _ := read(s.from, buffer[:])
	for _, number := range buffer[:max(n, 0)] {
		if number != wakeUp {
			s.late = append(s.late, unix.Signal(number))
		}
	}
	_, _ = write(s.fill, []byte{wakeUp}) // for whoever waits in next
	unix.Close(s.from)
	unix.Close(s.fill)
	s.from = -1
}

// next waits for a signal; io.EOF comes after Stop.
func (s *Signals) next() (unix.Signal, error) {
	var number [1]byte
	n, err := read(s.from, number[:])
	if err == nil && (n == 0 || number[0] == wakeUp) {
		err = io.EOF
	}
	return unix.Signal(number[0]), err
}

// collected is the set of what is collected.
func collected() (set uint64) {
	for sig := unix.Signal(1); sig <= C.SIGNALS; sig++ {
		// A handler would undo nohup(1).
		if collects(sig) && !signal.Ignored(sig) {
			set |= 1 << (sig - 1)
		}
	}
	return set
}

func collects(sig unix.Signal) bool {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP: // nobody can
		return false
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, unix.SIGPROF:
		// Faults of the runtime itself, and the Go runtime's own.
		return false
	case 32, 33, 34: // the C library's threads use them
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
func forwards(sig unix.Signal) bool { return sig != unix.SIGPIPE }

// ends tells whether a user who sends sig wants the runtime itself to end.
func ends(sig unix.Signal) bool {
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
		switch sig, err := s.next(); {
		case err != nil:
			return status, fail(err, "read", "signals")
		case sig == unix.SIGCHLD:
		case sig == unix.SIGWINCH:
			resize()
		default:
			p.deliver(sig)
		}
	}
}

// deliver forwards one collected signal. That it cannot be delivered (a user
// namespace, a security module) is no reason to stop supervising.
func (p Process) deliver(sig unix.Signal) {
	if forwards(sig) && sig != unix.SIGCHLD && sig != unix.SIGWINCH {
		_ = p.Signal(sig)
	}
}

// ended waits for done, or for a signal by which the user tells that the
// runtime should wait no longer.
func (s *Signals) ended(done <-chan struct{}) bool {
	enough := make(chan struct{})
	go func() {
		for {
			sig, err := s.next()
			if err != nil {
				return
			}
			if ends(sig) {
				close(enough)
				return
			}
		}
	}()
	select {
	case <-done:
		return true
	case <-enough:
		return false
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
