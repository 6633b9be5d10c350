package supervise

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Where a container finds the runtime's notification socket.
const (
	notifyDir  = "/run/notify"
	notifyName = "notify.sock"
	// NotifyEnv is the environment entry of a container's process.
	NotifyEnv = "NOTIFY_SOCKET=" + notifyDir + "/" + notifyName
)

const (
	// notifyMax is more than any datagram of sd_notify(3).
	notifyMax = 8192
	// notifyBurst keeps a container that never stops talking from being all
	// that the runtime listens to.
	notifyBurst = 256
	// sendTimeout is how long a full queue of the service manager is waited for.
	sendTimeout = 5 * time.Second
	// barrierTimeout is how long a service manager may take to have read what
	// the runtime told it. systemd answers; other readers need not.
	barrierTimeout = 30 * time.Second
)

// NotifyMount is the mount by which a container sees the directory that
// PrepareNotify makes on the host. A socket on a read-only mount can be
// written to.
func NotifyMount(dir string) specs.Mount {
	return specs.Mount{
		Destination: notifyDir,
		Type:        "bind",
		Source:      dir,
		Options:     []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	}
}

// PrepareNotify makes the host's directory for the notification socket. A
// container is created with the directory, and `start`, or `run`, makes the
// socket in it.
func PrepareNotify(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err, "mkdir", dir)
	}
	return nil
}

// Notify passes what a container says with sd_notify(3) on to the service
// manager of the runtime. A service manager would not take it from the
// container itself: it asks who the sender is. The methods accept a nil
// *Notify: a runtime without a NOTIFY_SOCKET.
type Notify struct {
	path    string // of the socket that the container writes to
	listen  int
	client  int // connected to the host's socket
	stop    wake
	done    chan struct{} // closed by the goroutine; nil before Start
	barrier time.Duration
}

// NotifyProxy listens in dir, which it makes where PrepareNotify has not, for
// a container and connects to hostSocket (the runtime's own NOTIFY_SOCKET, a
// path or an abstract "@name"). It returns nil where hostSocket is "".
func NotifyProxy(hostSocket, dir string) (*Notify, error) {
	if hostSocket == "" {
		return nil, nil
	}
	if err := PrepareNotify(dir); err != nil {
		return nil, err
	}
	n := &Notify{path: filepath.Join(dir, notifyName), listen: -1, client: -1, stop: -1, barrier: barrierTimeout}
	if err := n.open(hostSocket); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Notify) open(hostSocket string) (err error) {
	if n.client, err = connect(hostSocket, unix.SOCK_DGRAM); err != nil {
		return fail(err, "connect to", hostSocket)
	}
	timeout := unix.NsecToTimeval(int64(sendTimeout))
	_ = unix.SetsockoptTimeval(n.client, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	_ = os.Remove(n.path) // of a runtime that was killed
	if n.listen, err = bind(n.path); err != nil {
		return fail(err, "bind", n.path)
	}
	// Any user of the container may write to it; its directory is what the
	// host's users cannot reach.
	if err = os.Chmod(n.path, 0o777); err != nil {
		return fail(err, "chmod", n.path)
	}
	if n.stop, err = newWake(); err != nil {
		return fail(err, "eventfd", "")
	}
	return nil
}

// Close ends the forwarding and removes the socket. What the container has
// sent by then is passed on. It may be called again.
func (n *Notify) Close() {
	if n == nil {
		return
	}
	if n.done != nil {
		n.stop.set()
		<-n.done
		n.done = nil
	}
	if n.listen >= 0 {
		_ = os.Remove(n.path)
	}
	for _, fd := range []*int{&n.listen, &n.client, (*int)(&n.stop)} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// Start passes everything on until Close, for a runtime that stays: mainPid,
// its own pid, remains what the service manager watches.
func (n *Notify) Start(mainPid int) {
	if n == nil {
		return
	}
	n.done = make(chan struct{})
	go func() {
		defer close(n.done)
		for n.wait(int(n.stop)) {
			n.forward(mainPid)
		}
		n.forward(mainPid)
	}()
}

// WaitReady passes everything on until the container has said READY=1, and
// makes the container's process the one that the service manager watches from
// then on. It returns when the service manager has read that, for it might not
// believe a sender that has gone. A container that ends without READY=1 is no
// error here; the service manager knows what to make of it.
func (n *Notify) WaitReady(p Process) error {
	if n == nil {
		return nil
	}
	pidfd, err := unix.PidfdOpen(p.Pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fail(err, "pidfd_open", "process "+strconv.Itoa(p.Pid))
	}
	defer unix.Close(pidfd)
	for n.wait(pidfd) {
		if n.forward(p.Pid) {
			return n.synchronize()
		}
	}
	n.forward(p.Pid)
	return nil
}

// wait returns true where there is something to forward, and false where end
// is readable instead.
func (n *Notify) wait(end int) bool {
	fds := []unix.PollFd{readable(n.listen), readable(end)}
	_, err := poll(fds, time.Time{})
	return err == nil && fds[0].Revents != 0
}

// forward passes on what is there, without waiting, and tells whether
// READY=1 was among it. Descriptors that come along are dropped by the kernel,
// as there is no place for them in this receive; for BARRIER=1, whose sender
// waits for just that, it is the right answer.
func (n *Notify) forward(mainPid int) bool {
	ready := false
	var buffer [notifyMax]byte
	for range notifyBurst {
		size, err := n.receive(buffer[:])
		if err != nil {
			return ready
		}
		text, isReady := translate(string(buffer[:size]), mainPid)
		if text != "" {
			_, _ = write(n.client, []byte(text))
		}
		ready = ready || isReady
	}
	return ready
}

func (n *Notify) receive(b []byte) (int, error) {
	return retry(func() (int, error) {
		size, _, err := unix.Recvfrom(n.listen, b, unix.MSG_DONTWAIT)
		return size, err
	})
}

// synchronize is sd_notify_barrier(3): the service manager closes the
// descriptor when it comes to this message, after all earlier ones.
func (n *Notify) synchronize() error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fail(err, "pipe", "")
	}
	defer unix.Close(pipe[0])
	err := sendmsg(n.client, []byte("BARRIER=1"), pipe[1])
	_ = unix.Close(pipe[1])
	if err != nil {
		return fail(err, "send to", "the NOTIFY_SOCKET")
	}
	_, err = poll([]unix.PollFd{readable(pipe[0])}, time.Now().Add(n.barrier))
	if err != nil {
		return fail(err, "poll", "")
	}
	return nil
}

// translate is what of a container's datagram the service manager gets: the
// assignments that speak of the container, and with READY=1 the process that
// is the service. A container has no say in which process that is, in what the
// service manager keeps for it or in how it is watched.
func translate(datagram string, mainPid int) (text string, ready bool) {
	var b strings.Builder
	for _, line := range strings.Split(datagram, "\n") {
		if !passes(line) {
			continue
		}
		b.WriteString(line + "\n")
		ready = ready || line == "READY=1"
	}
	if ready {
		b.WriteString("MAINPID=" + strconv.Itoa(mainPid) + "\n")
	}
	return b.String(), ready
}

func passes(line string) bool {
	key, _, found := strings.Cut(line, "=")
	switch key {
	case "READY", "RELOADING", "STOPPING", "STATUS", "MONOTONIC_USEC",
		"ERRNO", "EXIT_STATUS", "WATCHDOG", "EXTEND_TIMEOUT_USEC":
		return found
	}
	return false
}
