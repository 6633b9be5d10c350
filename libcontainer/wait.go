package libcontainer

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
)

// Exit is how a container ended: exit.json, and what `wait` prints.
type Exit struct {
	ID string `json:"id"`
	// Status is "exited", "killed" or, where nobody has been told, "unknown".
	Status   string `json:"status"`
	ExitCode *int   `json:"exitCode,omitempty"` // of "exited"
	Signal   string `json:"signal,omitempty"`   // of "killed": "SIGKILL", or a number

	Ended time.Time `json:"ended,omitzero"` // when its end was seen
	// WallTime is from the making of init, by create or restore, to Ended. Times are
	// nanoseconds, amounts bytes; 0 is not known.
	WallTime time.Duration `json:"wallTime,omitempty"`
	// What the group had counted when its end was seen, with all that was in it.
	CPUTime       uint64 `json:"cpuTime,omitempty"`
	CPUTimeUser   uint64 `json:"cpuTimeUser,omitempty"`
	CPUTimeKernel uint64 `json:"cpuTimeKernel,omitempty"`
	MemoryPeak    uint64 `json:"memoryPeak,omitempty"`
	OOM           *OOM   `json:"oom,omitempty"`

	status supervise.ExitStatus
}

// OOM says that the kernel has killed for want of memory.
type OOM struct {
	Kills uint64 `json:"kills"`
	Group string `json:"group,omitempty"` // whose limit was reached (cgroups.Group.Kills); left out: the machine had no more
}

// Statuses of Exit.
const (
	exitExited  = "exited"
	exitKilled  = "killed"
	exitUnknown = "unknown"
)

// Code is what a runtime exits with for it; known is false where nobody knows.
func (e Exit) Code() (code int, known bool) { return e.status.Code(), e.Status != exitUnknown }

// String is "exit status 3", "killed by SIGKILL" or "unknown", and what the
// kernel has killed for.
func (e Exit) String() string {
	text := exitUnknown
	if e.Status != exitUnknown {
		text = e.status.String()
	}
	switch {
	case e.OOM == nil:
	case e.OOM.Group == "":
		text += " (out of memory: the machine)"
	default:
		text += " (out of memory: " + e.OOM.Group + ")"
	}
	return text
}

func (e *Exit) set(status supervise.ExitStatus) {
	e.status = status
	w := unix.WaitStatus(status)
	if !w.Signaled() {
		code := w.ExitStatus()
		e.Status, e.ExitCode = exitExited, &code
		return
	}
	e.Status, e.Signal = exitKilled, unix.SignalName(w.Signal())
	if e.Signal == "" {
		e.Signal = strconv.Itoa(int(w.Signal()))
	}
}

// UnmarshalJSON reads what is in exit.json.
func (e *Exit) UnmarshalJSON(raw []byte) error {
	type plain Exit
	if err := json.Unmarshal(raw, (*plain)(e)); err != nil {
		return err
	}
	switch {
	case e.Status == exitExited && e.ExitCode != nil:
		e.status = supervise.ExitStatus(*e.ExitCode & 0xff << 8)
	case e.Status == exitKilled:
		n := unix.SignalNum(e.Signal)
		if n == 0 {
			number, _ := strconv.Atoi(e.Signal)
			n = unix.Signal(number)
		}
		e.status = supervise.ExitStatus(n & 0x7f)
	default:
		e.Status = exitUnknown
	}
	return nil
}

// Wait waits until the container has ended and tells how. Who is not the
// parent of its init is told by the kernel as long as that has not been reaped,
// and from Linux 6.15 on by a pidfd that was open before; else the status is
// unknown, unless exit.json has it. What Wait has learned it writes there. The
// container need not be locked.
func (c *Container) Wait() (Exit, error) {
	fd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil || !c.isInit() {
		if err == nil {
			unix.Close(fd)
		}
		return c.pastExit()
	}
	init := os.NewFile(uintptr(fd), "pidfd")
	defer init.Close()
	awaitEnd(init, -1)
	status, known := c.exitStatus(init)
	return c.note(Exit{ID: c.ID, Status: exitUnknown, Ended: time.Now().UTC()}, status, known)
}

// NoteExit writes exit.json for a container whose init this process has reaped.
func (c *Container) NoteExit(status supervise.ExitStatus) error {
	_, err := c.note(Exit{ID: c.ID, Ended: time.Now().UTC()}, status, true)
	return err
}

// isInit tells whether the pid is still init's, ended or not.
func (c *Container) isInit() bool {
	ticks, _, err := startTime(c.record.PID)
	return err == nil && ticks == c.record.StartTime && !c.rebooted
}

// pastExit is how a container ended that nobody can be asked about any more.
func (c *Container) pastExit() (Exit, error) {
	e := Exit{ID: c.ID, Status: exitUnknown}
	dir, err := c.openDir()
	if err != nil {
		return e, err
	}
	defer unix.Close(dir)
	raw, err := c.readOwn(dir, exitFile)
	if errors.Is(err, unix.ENOENT) {
		c.count(&e)
		return e, nil
	}
	if err == nil && json.Unmarshal(raw, &e) != nil {
		err = c.damaged(&fault.Error{Op: "read", Path: c.path(exitFile), Msg: "is damaged"})
	}
	return e, err
}

// note completes e, and writes it unless the container has been deleted.
func (c *Container) note(e Exit, status supervise.ExitStatus, known bool) (Exit, error) {
	if known {
		e.set(status)
	}
	if age, err := sinceBoot(); err == nil && c.record.StartTime != 0 {
		e.WallTime = age - time.Duration(c.record.StartTime)*clockTick
	}
	c.count(&e)
	err := c.Lock()
	if errors.Is(err, ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	defer c.Yield()
	if !known && unix.Access(c.path(exitFile), unix.F_OK) == nil {
		return c.pastExit() // somebody knows more
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return e, fault.From(err, "write", c.path(exitFile)).In(fault.PhaseState)
	}
	return e, writeAtomic(c.path(exitFile), append(raw, '\n'))
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on all
// architectures that are built for.
const clockTick = 10 * time.Millisecond

func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
}

// count adds what the group has counted, as long as it is there.
func (c *Container) count(e *Exit) {
	group := c.group()
	if !group.Exists() {
		return
	}
	stats := group.Stats()
	e.CPUTime, e.CPUTimeUser, e.CPUTimeKernel = stats.CPU.Usage.Total, stats.CPU.Usage.User, stats.CPU.Usage.Kernel
	e.MemoryPeak = stats.Memory.Usage.Max
	if kills, where := group.Kills(); kills > 0 {
		e.OOM = &OOM{kills, where}
	}
}

// reapPatience is how long the parent of an ended init is given to reap it.
const reapPatience = 10 * time.Second

// exitStatus asks how init, which has ended, did.
func (c *Container) exitStatus(init *os.File) (supervise.ExitStatus, bool) {
	facts := host.ProbeProcess()
	// The kernel tells 0 to whom it will not say (proc_pid_stat(5)).
	if facts.Has(unix.CAP_SYS_PTRACE) {
		if status, ok := c.zombieStatus(); ok {
			return status, true
		}
	}
	if !facts.Kernel.AtLeast(6, 15) {
		return 0, false
	}
	awaitReaped(init, reapPatience)
	return reapedStatus(init)
}

// zombieStatus reads field 52 of /proc/PID/stat of a process that has not been
// reaped (proc_pid_stat(5)).
func (c *Container) zombieStatus() (supervise.ExitStatus, bool) {
	raw, err := host.ReadFile("/proc/" + strconv.Itoa(c.record.PID) + "/stat")
	if err != nil {
		return 0, false
	}
	ticks, ended, err := parseStat(raw)
	fields := statFields(raw)
	if err != nil || !ended || ticks != c.record.StartTime || len(fields) < 50 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[49]), 10, 32)
	return supervise.ExitStatus(n), err == nil
}

// awaitReaped waits until the parent of an ended process has reaped it: then
// its pidfd hangs up (Linux 6.15).
func awaitReaped(pidfd *os.File, patience time.Duration) {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd())}}
	for deadline := time.Now().Add(patience); ; {
		left := time.Until(deadline)
		if n, err := unix.Poll(fds, max(int(left.Milliseconds()), 0)); n > 0 || err != unix.EINTR {
			return
		}
	}
}

// reapedStatus asks a pidfd (PIDFD_INFO_EXIT, Linux 6.15).
func reapedStatus(pidfd *os.File) (supervise.ExitStatus, bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err := unix.IoctlPidfdInfo(int(pidfd.Fd()), &info)
	return supervise.ExitStatus(info.Exit_code), err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}
