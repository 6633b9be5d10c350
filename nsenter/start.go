package nsenter

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// environment is the variable that tells the preamble the number of its
// socket (ENVIRONMENT in nsenter.c).
const environment = "_BERTH_NSENTER"

// Config is what a child is born with.
type Config struct {
	Exe      *os.File   // what to execute, stays the caller's; nil is what Seal returns
	Stdio    [3]int     // the child's descriptors 0, 1 and 2; stay the caller's
	Preserve []*os.File // its descriptors 3, 4, …; stay the caller's
	Cgroup   *os.File   // cgroup2 directory to be born in (CLONE_INTO_CGROUP), or nil
}

// Child is the runtime's end of the conversation with one preamble.
//
// The packets, '<' from the child and '>' to it:
//
//	>program (>fds)* { <sync >go | <child | <fd }* ( <failed | end of file )
//
// A SYNC is answered by Go. End of file means that the program executed
// something, that it went over to Report, or that the child died.
type Child struct {
	PID     int // the preamble, later init where the program does not fork
	sock    int
	program *Program
	expect  []SyncID
	init    int      // the pid that the program forked, once known
	pending *message // what came first from init, until Next has told its pid
	times   *times   // nil unless the command is traced
}

// Start makes a child that waits for its program.
func Start(c Config) (*Child, error) {
	if child := adopt(c); child != nil {
		return child, nil
	}
	if c.Exe == nil {
		exe, err := Seal(true)
		if err != nil {
			return nil, err
		}
		defer exe.Close()
		c.Exe = exe
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &fault.Error{Op: "socketpair", Errno: err.(unix.Errno), Phase: fault.PhaseNamespaces}
	}
	defer unix.Close(pair[1])
	// The kernel says who sent a message: after a fork init may speak first.
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(pair[0])
		return nil, &fault.Error{Op: "setsockopt", Errno: err.(unix.Errno), Phase: fault.PhaseNamespaces}
	}
	files := make([]uintptr, 0, 5+len(c.Preserve))
	for _, fd := range c.Stdio {
		files = append(files, uintptr(fd))
	}
	for _, f := range c.Preserve {
		files = append(files, f.Fd())
	}
	attr := syscall.ProcAttr{
		Env:   []string{environment + "=" + strconv.Itoa(len(files))},
		Files: append(files, uintptr(pair[1]), c.Exe.Fd()),
		Sys:   &syscall.SysProcAttr{},
	}
	if c.Cgroup != nil {
		attr.Sys.UseCgroupFD = true
		attr.Sys.CgroupFD = int(c.Cgroup.Fd())
	}
	// The executable gets a number of its own in the child, where its number
	// here may be that of another file; the preamble closes it.
	exe := "/proc/self/fd/" + strconv.Itoa(len(attr.Files)-1)
	pid, err := syscall.ForkExec(exe, []string{"berth", "init"}, &attr)
	if err != nil {
		unix.Close(pair[0])
		return nil, startError(err, c)
	}
	return &Child{PID: pid, sock: pair[0]}, nil
}

func startError(err error, c Config) error {
	e := fault.From(err, "start", "the container's first process").In(fault.PhaseNamespaces)
	if c.Cgroup != nil {
		e.Path += " in " + c.Cgroup.Name()
	}
	return e
}

// Send hands over the program and the descriptors it expects, in the order of
// its registers. They stay the caller's and may be closed after Send.
func (c *Child) Send(p *Program, fds []*os.File) error {
	if len(fds) != p.Received {
		return fmt.Errorf("nsenter: the program expects %d descriptors, not %d", p.Received, len(fds))
	}
	raw, err := p.Encode()
	if err != nil {
		return &fault.Error{Op: "encode the program", Err: err, Phase: fault.PhasePlan}
	}
	numbers := make([]int, 1, 2+len(fds))
	if trace.On() {
		memory, err := c.timeSteps(p)
		if err != nil {
			return err
		}
		defer memory.Close()
		setTimed(raw)
		numbers = append(numbers, int(memory.Fd()))
	}
	memfd, err := sealed("berth-program", raw)
	if err != nil {
		return err
	}
	defer memfd.Close()
	numbers[0] = int(memfd.Fd())
	for _, f := range fds {
		numbers = append(numbers, int(f.Fd()))
	}
	c.program, c.expect = p, p.Syncs()
	kind := uint32(messageProgram)
	for len(numbers) > 0 {
		n := min(len(numbers), fdsAMessage)
		if err := c.send(message{kind: kind}, numbers[:n]); err != nil {
			return err
		}
		numbers, kind = numbers[n:], messageFDs
	}
	runtime.KeepAlive(fds)
	return nil
}

// Event is one message of the child.
type Event struct {
	Sync SyncID   // a Sync or SendFD id, else 0
	PID  int      // init's pid where the program forked, else 0
	FD   *os.File // handed over by SendFD, now the caller's; else nil
	End  bool     // end of file: executed, gone over to Report, or dead
}

// Next waits for the child's next message. A step that failed is returned as
// an error that names the config.json entry. Where the program forks, init's
// pid is told before anything that init says.
func (c *Child) Next() (Event, error) {
	m, err := c.next()
	if err != nil {
		return Event{}, err
	}
	if m.fd != nil && m.kind != messageFD {
		m.fd.Close()
	}
	switch m.kind {
	case 0:
		c.times.end(nil)
		return Event{End: true}, nil
	case messageSync:
		if len(c.expect) == 0 || c.expect[0] != SyncID(m.id) {
			return Event{}, disorder("sync %s out of order", SyncID(m.id))
		}
		c.expect = c.expect[1:]
		return Event{Sync: SyncID(m.id)}, nil
	case messageChild:
		return Event{PID: int(m.value)}, nil
	case messageFD:
		if m.fd == nil {
			return Event{}, &fault.Error{Op: "receive", Path: SyncID(m.id).String(), Errno: unix.EMFILE}
		}
		return Event{Sync: SyncID(m.id), FD: m.fd}, nil
	case messageFailed:
		failure := c.program.Failure(m.id, syscall.Errno(m.value), string(m.text))
		c.times.end(failure)
		return Event{}, failure
	}
	return Event{}, disorder("message of kind %d", m.kind)
}

// disorder is a message that the conversation does not have at this point.
func disorder(format string, args ...any) error {
	return &fault.Error{Op: "receive", Path: "from the container's first process", Msg: fmt.Sprintf(format, args...), Phase: fault.PhaseNamespaces}
}

// next is the message that Next tells. The preamble and the init it forked
// share one socket, so either may be the first to be heard; whichever it is, the
// first message becomes the one that tells init's pid, and there is no second.
func (c *Child) next() (message, error) {
	if m := c.pending; m != nil {
		c.pending = nil
		return *m, nil
	}
	for {
		m, err := c.receive()
		switch {
		case err != nil || m.kind == 0:
			return m, err
		case m.kind == messageChild && c.init != 0:
			continue
		case m.kind == messageChild:
			c.init = int(m.value)
		case m.pid != 0 && m.pid != c.PID && c.init == 0:
			c.init, c.pending = m.pid, &m
			return message{kind: messageChild, value: int32(m.pid)}, nil
		}
		return m, nil
	}
}

// Go answers a Sync.
func (c *Child) Go(id SyncID) error {
	return c.send(message{kind: messageGo, id: uint32(id)}, nil)
}

// Close ends the conversation; a child that waits for Go exits.
func (c *Child) Close() error {
	if c.sock < 0 {
		return nil
	}
	err := unix.Close(c.sock)
	c.sock = -1
	return err
}

// Wait reaps the child process (not the init it may have forked).
func (c *Child) Wait() (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(c.PID, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// Failure is the error for a step that failed. text is what the kernel said
// about it, or "".
func (p *Program) Failure(step uint32, errno syscall.Errno, text string) *fault.Error {
	if step == refused {
		return &fault.Error{Op: "walk", Msg: "the program was refused", Errno: errno, Phase: fault.PhaseNamespaces, Hint: refusedHint(errno)}
	}
	if int(step) >= len(p.Steps) {
		return &fault.Error{Op: "walk", Msg: "the program has no end", Errno: errno}
	}
	s := &p.Steps[step]
	e := &fault.Error{
		Op: s.Origin.Op, Path: s.Origin.Path, Field: s.Origin.Field, Phase: s.Origin.Phase,
		Errno: errno, Msg: kernelText(text),
	}
	if e.Op == "" {
		e.Op = s.Call.String()
	}
	e.Hint = hint(s, errno)
	return e
}

// message is struct message of step.h, with what came along with it.
type message struct {
	kind, id uint32
	value    int32
	text     []byte
	fd       *os.File // handed over, or nil
	pid      int      // the sender's, 0 where it is not known
}

func (c *Child) send(m message, fds []int) error {
	raw := encodeMessage(m)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(c.sock, raw, oob, nil, unix.MSG_NOSIGNAL)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &fault.Error{Op: "send", Path: "to the container's first process", Errno: err.(unix.Errno),
				Phase: fault.PhaseNamespaces, Hint: "it died; see the kernel's log for an out-of-memory kill"}
		}
	}
}

// receive waits for one message; its kind is 0 at the end of file.
func (c *Child) receive() (m message, err error) {
	raw := make([]byte, messageSize)
	oob := make([]byte, unix.CmsgSpace(4)+unix.CmsgSpace(unix.SizeofUcred))
	var n, oobn int
	for {
		n, oobn, _, _, err = unix.Recvmsg(c.sock, raw, oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		return m, &fault.Error{Op: "receive", Path: "from the container's first process", Err: err}
	}
	if err != nil || n == 0 {
		return m, nil
	}
	if n != messageSize {
		return m, disorder("message of %d bytes", n)
	}
	m = decodeMessage(raw)
	m.fd, m.pid = received(oob[:oobn])
	return m, nil
}

// received is the descriptor that came with a message, or nil, and the pid of
// its sender, or 0.
func received(oob []byte) (fd *os.File, pid int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, 0
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
		}
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, n := range fds {
			if fd != nil {
				unix.Close(n)
				continue
			}
			fd = os.NewFile(uintptr(n), "received")
		}
	}
	return fd, pid
}

// sealed is a memfd with content that nobody can change any more.
func sealed(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fault.From(err, "memfd_create", name)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(content); err == nil {
		err = seal(f)
	}
	if err != nil {
		f.Close()
		return nil, fault.From(err, "write", name)
	}
	return f, nil
}

func seal(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS,
		unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return err
}
