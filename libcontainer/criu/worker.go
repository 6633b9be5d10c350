package criu

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Config is what CRIU is born with.
type Config struct {
	Stdio [3]int // its descriptors 0, 1 and 2; stay the caller's
	// Files are its descriptors from FirstFile on; stay the caller's.
	Files []*os.File
	// Images and Work are the directories of Options, which CRIU opens through
	// this process.
	Images, Work string
	// Bind, where it is set, gives CRIU a mount namespace of its own in which
	// the first path is mounted on the second.
	Bind *[2]string
}

// FirstFile is the first of CRIU's descriptors that Config.Files become; the
// one before is its end of the conversation.
const FirstFile = 4

// Worker is a running `criu swrk`, which waits for its request.
type Worker struct {
	PID  int
	sock int
	dirs dirs
}

// dirs are the descriptors of Images and Work; work is -1 where there is none.
type dirs struct{ images, work int }

func openDirs(images, work string) (d dirs, err error) {
	d = dirs{-1, -1}
	if d.images, err = openDir(images); err == nil && work != "" {
		d.work, err = openDir(work)
	}
	if err != nil {
		d.close()
	}
	return d, err
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fault.From(err, "open", path)
	}
	return fd, nil
}

func (d dirs) close() {
	for _, fd := range []int{d.images, d.work} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Start starts CRIU, which is looked for in $PATH.
func Start(c Config) (*Worker, error) {
	binary, err := lookPath("criu", os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fault.From(err, "socketpair", "")
	}
	defer unix.Close(pair[1])
	files := []uintptr{uintptr(c.Stdio[0]), uintptr(c.Stdio[1]), uintptr(c.Stdio[2]), uintptr(pair[1])}
	for _, f := range c.Files {
		files = append(files, f.Fd())
	}
	w := &Worker{sock: pair[0]}
	start := func() (err error) {
		if w.dirs, err = openDirs(c.Images, c.Work); err != nil {
			return err
		}
		w.PID, err = syscall.ForkExec(binary, []string{binary, "swrk", strconv.Itoa(FirstFile - 1)},
			&syscall.ProcAttr{Env: os.Environ(), Files: files})
		if err != nil {
			w.dirs.close()
			return fault.From(err, "start", binary)
		}
		return nil
	}
	if c.Bind == nil {
		err = start()
	} else {
		err = apart(c.Bind[0], c.Bind[1], start)
	}
	runtime.KeepAlive(c.Files)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	return w, nil
}

// apart calls start in a mount namespace of its own, in which one path is
// mounted on another. The namespace goes with its last process, so nothing is
// left to unmount, whoever is killed. What start opens is in it, too: CRIU
// cannot mount on what is in another one.
func apart(from, to string, start func() error) error {
	done := make(chan error)
	var processors unix.CPUSet
	known := unix.SchedGetaffinity(0, &processors) == nil
	slack, _ := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		// What CRIU restores inherits these of its starter, and other threads
		// than the main one have not the process's own (nsenter/prefault).
		if known {
			unix.SchedSetaffinity(0, &processors)
		}
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
		err := bindPrivately(from, to)
		if err == nil {
			err = start()
		}
		done <- err
	}()
	return <-done
}

// bindPrivately mounts from on to, with what is mounted below, for this thread
// alone.
func bindPrivately(from, to string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fault.From(err, "make a mount namespace", "")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fault.From(err, "make private", "/")
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fault.From(err, "bind "+from+" on", to)
	}
	return nil
}

// lookPath finds a program in the directories of path.
func lookPath(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		var st unix.Stat_t
		if filepath.IsAbs(dir) && unix.Stat(full, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
	}
	return "", &fault.Error{Op: "start", Path: name, Msg: "executable file not found in $PATH", Code: "criu-missing",
		Hint: "checkpoint and restore need CRIU 3.17 or newer (criu.org)"}
}

// Notice is something that CRIU tells, and waits for the answer.
type Notice struct {
	Script string // such as "setup-namespaces", "post-restore", "orphan-pts-master"
	PID    int    // of the container's init, where there is one
	FD     *os.File
}

// errCRIU is a failure that CRIU's log has more about.
type errCRIU struct{ text string }

func (e *errCRIU) Error() string { return e.text }

// Do sends the request, made for the descriptors of the directories, and answers CRIU until that is done; notify says, for
// each notice, whether to go on, and owns its FD. It returns the pid of what
// was restored, and waits for CRIU's end in any case.
func (w *Worker) Do(request func(images, work int) Request, notify func(Notice) error) (pid int, err error) {
	defer w.Close()
	r := request(w.dirs.images, w.dirs.work)
	if err := w.send(r.message.raw); err != nil {
		return 0, err
	}
	for {
		a, fd, err := w.receive()
		if err != nil {
			return 0, err
		}
		if a.kind != typeNotify {
			return a.pid, a.failure(r.kind)
		}
		if err := notify(Notice{Script: a.script, PID: a.pid, FD: fd}); err != nil {
			w.reply(false)
			w.drain()
			return 0, err
		}
		if err := w.reply(true); err != nil {
			return 0, err
		}
	}
}

// Because is the reason of a failure to prepare something for CRIU: err, or that
// CRIU has died. systemd takes its scope away then, and what is done to the
// group fails.
func (w *Worker) Because(err error) error {
	fds := []unix.PollFd{{Fd: int32(w.sock)}}
	if n, _ := unix.Poll(fds, 0); n == 1 && fds[0].Revents&unix.POLLHUP != 0 {
		return &errCRIU{"it died"}
	}
	return err
}

// Close ends the conversation and waits until CRIU has gone. Without a request
// CRIU just goes.
func (w *Worker) Close() {
	if w.sock < 0 {
		return
	}
	unix.Close(w.sock)
	w.sock = -1
	w.dirs.close()
	for {
		if _, err := unix.Wait4(w.PID, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// drain lets CRIU take back what it did.
func (w *Worker) drain() {
	for {
		a, fd, err := w.receive()
		if fd != nil {
			fd.Close()
		}
		if err != nil || a.kind != typeNotify || w.reply(false) != nil {
			return
		}
	}
}

func (w *Worker) reply(success bool) error {
	var m message
	m.number(reqType, typeNotify)
	m.tag(reqNotifySuccess, wireVarint) // false must be said, too
	if success {
		m.raw = append(m.raw, 1)
	} else {
		m.raw = append(m.raw, 0)
	}
	return w.send(m.raw)
}

func (w *Worker) send(raw []byte) error {
	for {
		err := unix.Send(w.sock, raw, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
		case unix.EPIPE, unix.ECONNRESET:
			return &errCRIU{"it died"}
		default:
			if err != nil {
				return fault.From(err, "send to", "criu")
			}
			return nil
		}
	}
}

// answer is what CRIU sends.
type answer struct {
	kind    int
	success bool
	pid     int
	script  string
	text    string
}

// maxAnswer is more than CRIU ever sends.
const maxAnswer = 64 << 10

func (w *Worker) receive() (a answer, fd *os.File, err error) {
	raw, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*4))
	var n, oobn int
	for {
		n, oobn, _, _, err = unix.Recvmsg(w.sock, raw, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil && n == 0 || err == unix.ECONNRESET {
		return a, nil, &errCRIU{"it died"}
	}
	if err != nil {
		return a, nil, fault.From(err, "receive from", "criu")
	}
	a, ok := readAnswer(raw[:n])
	fd = receivedFile(oob[:oobn])
	if !ok {
		if fd != nil {
			fd.Close()
		}
		return a, nil, &errCRIU{"it sent something else than an answer"}
	}
	return a, fd, nil
}

// receivedFile is the first descriptor that came with a message.
func receivedFile(oob []byte) (first *os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if first == nil {
				first = os.NewFile(uintptr(fd), "criu")
			} else {
				unix.Close(fd)
			}
		}
	}
	return first
}

func readAnswer(raw []byte) (a answer, ok bool) {
	r := reader{raw: raw}
	for {
		number, n, b, more := r.next()
		if !more {
			return a, !r.bad
		}
		switch number {
		case respType:
			a.kind = int(n)
		case respSuccess:
			a.success = n != 0
		case respRestore:
			sub := reader{raw: b}
			for number, n, _, more := sub.next(); more; number, n, _, more = sub.next() {
				if number == 1 {
					a.pid = int(int32(n))
				}
			}
			r.bad = r.bad || sub.bad
		case respNotify:
			sub := reader{raw: b}
			for number, n, b, more := sub.next(); more; number, n, b, more = sub.next() {
				switch number {
				case 1:
					a.script = string(b)
				case 2:
					a.pid = int(int32(n))
				}
			}
			r.bad = r.bad || sub.bad
		case respMessage:
			a.text = string(b)
		}
	}
}

// failure is the error of a final answer to a request of a kind.
func (a answer) failure(kind int) error {
	switch {
	case a.success && a.kind == kind:
		return nil
	case a.text != "":
		return &errCRIU{strings.TrimSpace(a.text)}
	case a.success:
		return &errCRIU{"it answered something else"}
	}
	return &errCRIU{"it failed"}
}

// Explain makes an error of Do one that quotes CRIU's own log, which is in the
// directory of options under that name. op is "checkpoint" or "restore".
func (o Options) Explain(err error, op, id, log string) error {
	var failed *errCRIU
	if !errors.As(err, &failed) {
		return err
	}
	path := filepath.Join(o.logDir(), log)
	e := &fault.Error{Op: op, Path: id, Msg: "criu: " + failed.text, Code: "criu-failed"}
	lines, err := readErrors(path)
	if len(lines) > 0 {
		e.Msg = "criu: " + quote(lines)
	}
	if err == nil {
		e.Hint = "the whole log is " + path
		if advice := advise(lines); advice != "" {
			e.Hint = advice + "; " + e.Hint
		}
	}
	return e
}

func (o Options) logDir() string {
	if o.Work != "" {
		return o.Work
	}
	return o.Images
}
