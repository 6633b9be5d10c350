package supervise

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// poll waits for one of fds; entries with a negative descriptor are ignored by
// the kernel. It returns false where the deadline has passed; the zero
// deadline never does.
func poll(fds []unix.PollFd, deadline time.Time) (bool, error) {
	for {
		n, err := unix.Poll(fds, milliseconds(deadline))
		if err == unix.EINTR {
			continue
		}
		return n > 0, err
	}
}

// milliseconds is the time left in poll(2)'s unit, rounded up so that no poll
// returns before the deadline.
func milliseconds(deadline time.Time) int {
	if deadline.IsZero() {
		return -1
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0
	}
	return int(min(left/time.Millisecond+1, math.MaxInt32))
}

// readable is an entry for poll.
func readable(fd int) unix.PollFd { return unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} }

// writable is an entry for poll.
func writable(fd int) unix.PollFd { return unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT} }

// wake is an eventfd(2): it makes a poll in another goroutine return.
type wake int

func newWake() (wake, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return wake(fd), err
}

// set makes w readable for good.
func (w wake) set() {
	one := [8]byte{1} // not 0 in either byte order
	_, _ = retry(func() (int, error) { return unix.Write(int(w), one[:]) })
}

func (w wake) close() { _ = unix.Close(int(w)) }

// retry repeats a call that a signal has interrupted. Go installs its handlers
// with SA_RESTART, but not every call is restarted (signal(7)).
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func read(fd int, b []byte) (int, error) {
	return retry(func() (int, error) { return unix.Read(fd, b) })
}

func write(fd int, b []byte) (int, error) {
	return retry(func() (int, error) { return unix.Write(fd, b) })
}
