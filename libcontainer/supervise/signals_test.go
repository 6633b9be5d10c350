package supervise

import (
	"errors"
	"os"
	"os/signal"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignalsRefused: where one signal cannot be collected, none is, and the
// others keep the action that they had.
func TestSignalsRefused(t *testing.T) {
	ours := make(chan os.Signal, 1)
	signal.Notify(ours, unix.SIGUSR1)
	defer signal.Stop(ours)
	const internal = 32 // the C library's own: sigaction(2) is refused
	s, err := newSignals(1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1) | 1<<(internal-1))
	if !errors.Is(err, unix.EINVAL) || s != nil {
		t.Fatalf("got %v", err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ours:
	case <-time.After(10 * time.Second):
		t.Error("SIGUSR1 has lost its action")
	}
}

// TestSignalsStop: once stopped, no handler writes to the descriptor that the
// pipe has had, which is somebody else's by then.
func TestSignalsStop(t *testing.T) {
	ours := make(chan os.Signal, 1000)
	signal.Notify(ours, unix.SIGUSR1)
	defer signal.Stop(ours)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-ours:
			default:
				_ = unix.Kill(os.Getpid(), unix.SIGUSR1)
			}
		}
	}()
	defer func() { close(done); <-ended }()
	for range 300 {
		s, err := newSignals(1 << (unix.SIGUSR1 - 1))
		if err != nil {
			t.Fatal(err)
		}
		fill := s.fill
		time.Sleep(100 * time.Microsecond)
		s.Stop()
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		if fds[0] != fill && fds[1] != fill {
			_ = unix.Dup3(fds[1], fill, unix.O_CLOEXEC) // its number, whoever has got it meanwhile
		}
		time.Sleep(100 * time.Microsecond)
		var b [1]byte
		if n, err := unix.Read(fds[0], b[:]); n > 0 || err != unix.EAGAIN {
			t.Fatalf("a handler has written to another pipe: %d, %v", n, err)
		}
		unix.Close(fds[0])
		unix.Close(fds[1])
		if fds[0] != fill && fds[1] != fill {
			unix.Close(fill)
		}
	}
}
