package supervise

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// chunk is what one read of a pty yields at most, and what a pipe that
	// poll calls writable takes without blocking (PIPE_BUF).
	chunk = 4096
	// leftover bounds what is copied after the process has ended: a pty holds
	// less, so more can only come from processes that the container does not
	// own (no pid namespace) and that may never stop.
	leftover = 1 << 20
)

// pump is one direction. It reads only when it has nothing left to write, so
// that a slow writer slows the reader down and no direction waits for the other.
type pump struct {
	from, to int // from is -1 after its end
	pending  []byte
	buffer   [chunk]byte
}

// wants is what the pump waits for.
func (p *pump) wants() unix.PollFd {
	if len(p.pending) > 0 {
		return writable(p.to)
	}
	return readable(p.from)
}

// write writes what is pending. Where nobody reads any more it is thrown away:
// a container must not hang because `run | head` has seen enough.
func (p *pump) write() {
	n, err := write(p.to, p.pending)
	switch {
	case err == nil:
		p.pending = p.pending[n:]
	case err != unix.EAGAIN:
		p.pending = nil
	}
}

// read fills pending; it returns io's errno, or EOF as 0 bytes.
func (p *pump) read() (int, error) {
	n, err := read(p.from, p.buffer[:])
	if n > 0 {
		p.pending = p.buffer[:n]
	}
	return n, err
}

// copy shovels bytes both ways until the process has ended. It waits in one
// poll for everything: no thread is left behind in a read of stdin, so nothing
// typed later is swallowed, and a stdin that never closes keeps nobody waiting.
func (t *TTY) copy() {
	defer close(t.done)
	defer t.restoreOnPanic()
	in := &pump{from: t.stdin, to: t.master}
	out := &pump{from: t.master, to: t.stdout}
	for t.step(in, out) {
	}
	t.drain(out)
}

func (t *TTY) restoreOnPanic() {
	if p := recover(); p != nil {
		t.restore()
		panic(p)
	}
}

// step waits for one event and serves it; false is the end.
func (t *TTY) step(in, out *pump) bool {
	fds := [...]unix.PollFd{readable(int(t.exited)), in.wants(), out.wants()}
	if _, err := poll(fds[:], time.Time{}); err != nil || fds[0].Revents != 0 {
		return false
	}
	if fds[1].Revents != 0 {
		t.input(in)
	}
	if fds[2].Revents != 0 {
		t.output(out)
	}
	return true
}

// input serves stdin → ptmx. The end of stdin is not passed on: the container
// keeps its terminal, as under every other runtime.
func (t *TTY) input(in *pump) {
	if len(in.pending) > 0 {
		in.write()
		return
	}
	if n, err := in.read(); n <= 0 && err != unix.EAGAIN {
		in.from = -1
	}
}

// output serves ptmx → stdout.
func (t *TTY) output(out *pump) {
	if len(out.pending) > 0 {
		out.write()
		return
	}
	n, err := out.read()
	if n > 0 || err == unix.EAGAIN || err == unix.EIO && t.reopen() {
		return
	}
	out.from = -1
}

// drain copies what is left after the process has ended. Its last output needs
// no waiting for: before the kernel says EAGAIN or EIO it moves all that has
// been written to the other side into reach (n_tty_read in n_tty.c).
func (t *TTY) drain(out *pump) {
	t.hangUp()
	for total := 0; total < leftover; total += len(out.pending) {
		out.flush()
		if n, _ := out.read(); n <= 0 {
			return
		}
	}
	out.flush()
}

// flush writes all that is pending, waiting where stdout is nonblocking.
func (p *pump) flush() {
	for len(p.pending) > 0 {
		p.write()
		if len(p.pending) > 0 {
			_, _ = poll([]unix.PollFd{writable(p.to)}, time.Time{})
		}
	}
}
