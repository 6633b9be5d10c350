package libcontainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/intelrdt"
)

// The state directory of a container, ROOT/ID:
//
//	config.json     the bundle's, as it was at create
//	state.json      record, replaced atomically
//	notify/         shows the process a socket for sd_notify(3), where asked for
//	exec.fifo       init waits here for start; removed when it has begun
//	resources.json  the limits that hold, once update has changed them
//	exit.json       how it ended, where a foreground run or a wait has seen it
//
// The directory itself carries the lock (flock(2)).
const (
	configFile = "config.json"
	stateFile  = "state.json"
	fifoFile   = "exec.fifo"

	resourcesFile = "resources.json"
	exitFile      = "exit.json"

	// Beside the state directories; no ID has an '@'.
	seccompCache = "@seccomp"
	notifyDir    = "notify"
)

// record is state.json. It is written before anything is made that outlives
// the runtime, so that delete can always find what to take back.
type record struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`       // of init in the runtime's pid namespace; 0 while creating
	StartTime   uint64            `json:"startTime"` // of init, in clock ticks since boot: tells it from a reused pid
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Boot        string            `json:"boot,omitempty"` // of the machine: host.BootID
	UID         int               `json:"uid"`            // who created it
	Annotations map[string]string `json:"annotations,omitempty"`

	Cgroup     cgroups.State  `json:"cgroup"`
	Resctrl    intelrdt.State `json:"resctrl,omitzero"`
	HostMount  uint64         `json:"hostMount,omitempty"`  // without a mount namespace: the mount that Rootfs was on before
	OwnPIDs    bool           `json:"ownPids,omitempty"`    // its pid namespace dies with init
	Process    bool           `json:"process,omitempty"`    // config.json has one
	Hooks      []string       `json:"hooks,omitempty"`      // the kinds that config.json has
	Namespaces []string       `json:"namespaces,omitempty"` // own ones, for hooks that run in them
	NoKeyring  bool           `json:"noKeyring,omitempty"`  // its processes keep the session keyring of the runtime

	// Stdio is what the process got for its standard descriptors, where that is
	// a pipe ("pipe:[INODE]"), a regular file or a terminal ("DEVICE:INODE").
	Stdio []string `json:"stdio,omitempty"`

	// Exec are the program's steps after exec.fifo, for start to explain.
	Exec *ExecSteps `json:"exec,omitempty"`
}

// State is what `state` and `list` print, and what hooks get on standard
// input without the fields that are not the specification's.
type State struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	PID         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

// StatusPaused is the state of a frozen container; the specification leaves
// room for it.
const StatusPaused specs.ContainerState = "paused"

// NotifyDir is the host's side of the directory with the process's
// NOTIFY_SOCKET; whoever starts the container makes the socket in it.
func (c *Container) NotifyDir() string { return c.path(notifyDir) }

func (c *Container) path(name string) string { return filepath.Join(c.dir, name) }

// save replaces state.json.
func (c *Container) save() error {
	return writeAtomic(c.path(stateFile), c.record.encode())
}

func writeAtomic(path string, raw []byte) error {
	temp := path + ".new"
	if err := writeFile(temp, raw); err != nil {
		return fault.From(err, "write", path).In(fault.PhaseState)
	}
	if err := unix.Rename(temp, path); err != nil {
		return fault.From(err, "write", path).In(fault.PhaseState)
	}
	return nil
}

// maxRecord is more than a record takes: its annotations and paths are parts of
// a config.json.
const maxRecord = 2 * bundle.MaxConfigSize

// readRecord loads state.json. A directory without one is what a killed
// runtime left before it had made anything.
func (c *Container) readRecord() error {
	dir := c.held
	if dir == 0 {
		var err error
		if dir, err = c.openDir(); err != nil {
			return err
		}
		defer unix.Close(dir)
	}
	raw, err := c.readOwn(dir, stateFile)
	if err != nil {
		return err
	}
	err = c.record.decode(raw)
	if err == nil {
		err = c.record.check(c.ID)
	}
	if err != nil {
		return &fault.Error{Op: "read", Path: c.path(stateFile), Err: err, Phase: fault.PhaseState, Hint: hintDamaged}
	}
	if boot := c.record.Boot; boot != "" && boot != host.BootID() {
		c.forget()
	}
	return nil
}

// forget drops what the record names of another boot: its process, its groups
// and its mounts went with that, and what has their names now is another's.
func (c *Container) forget() {
	c.rebooted = true
	c.record.Cgroup, c.record.Resctrl, c.record.HostMount = cgroups.State{}, intelrdt.State{}, 0
}

// openDir opens the state directory, which must be the runtime's own: what it
// says is believed about which processes to kill and what to unmount.
func (c *Container) openDir() (int, error) {
	fd, err := openFile(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, errNotExist(c.ID)
	}
	if err != nil {
		return -1, noAccess(c.damaged(fault.From(err, "open", c.dir)))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, fault.From(err, "stat", c.dir).In(fault.PhaseState)
	}
	if e := foreign(&st, "open", c.dir); e != nil {
		unix.Close(fd)
		return -1, e
	}
	return fd, nil
}

// readOwn reads a file of the state directory dir, as the runtime has written
// it: nothing else is opened, and no FIFO waited for.
func (c *Container) readOwn(dir int, name string) ([]byte, error) {
	path := c.path(name)
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, c.damaged(fault.From(err, "read", path))
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fault.From(err, "stat", path).In(fault.PhaseState)
	}
	if e := plain(&st, path); e != nil {
		return nil, c.damaged(e)
	}
	raw, err := host.ReadAll(fd, maxRecord)
	if err != nil {
		return nil, fault.From(err, "read", path).In(fault.PhaseState)
	}
	return raw, nil
}

// plain refuses what the runtime has not written.
func plain(st *unix.Stat_t, path string) *fault.Error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return &fault.Error{Op: "read", Path: path, Msg: "not a regular file", Phase: fault.PhaseState}
	case st.Size > maxRecord:
		return &fault.Error{Op: "read", Path: path, Msg: "larger than 128 MiB", Phase: fault.PhaseState}
	}
	return foreign(st, "read", path)
}

// foreign refuses what somebody else could have written.
func foreign(st *unix.Stat_t, op, path string) *fault.Error {
	e := &fault.Error{Op: op, Path: path, Phase: fault.PhaseState, Code: "foreign-state", Hint: hintForeign}
	switch me := os.Geteuid(); {
	case st.Uid != 0 && int(st.Uid) != me:
		e.Msg = fmt.Sprintf("belongs to user %d, not to %d", st.Uid, me)
	case st.Mode&0o022 != 0:
		e.Msg = fmt.Sprintf("others may write to it (mode %o)", st.Mode&0o7777)
	default:
		return nil
	}
	return e
}

// damaged adds the hint of what is not as the runtime has made it.
func (c *Container) damaged(e *fault.Error) *fault.Error {
	if e.Hint == "" && (e.Errno == 0 || e.Errno == unix.ELOOP || e.Errno == unix.ENOTDIR) {
		e.Hint = hintDamaged
	}
	return e.In(fault.PhaseState)
}

// lock takes the container's lock and waits for it where block is set. The
// kernel drops it with the descriptor, so a killed runtime leaves none.
func (c *Container) lock(block bool) error {
	for !c.locked {
		fd, err := c.openDir()
		if err != nil {
			return err
		}
		if err := flock(fd, block); err != nil {
			unix.Close(fd)
			return fault.From(err, "lock", c.dir).In(fault.PhaseState)
		}
		// Whoever had the lock may have deleted the container, and its ID may
		// be another one's by now.
		if !stillAt(fd, c.dir) {
			unix.Close(fd)
			continue
		}
		c.held, c.locked = fd, true
	}
	return nil
}

func flock(fd int, block bool) error {
	how := unix.LOCK_EX
	if !block {
		how |= unix.LOCK_NB
	}
	for {
		if err := unix.Flock(fd, how); err != unix.EINTR {
			return err
		}
	}
}

// stillAt tells whether path leads to what fd is.
func stillAt(fd int, path string) bool {
	var here, there unix.Stat_t
	return unix.Fstat(fd, &here) == nil && unix.Lstat(path, &there) == nil &&
		here.Dev == there.Dev && here.Ino == there.Ino
}

// Unlock lets others work with the container.
func (c *Container) Unlock() {
	if c.held != 0 {
		unix.Close(c.held)
		c.held, c.locked = 0, false
	}
}

// Yield is Unlock for who will come back with Lock.
func (c *Container) Yield() {
	if c.locked {
		unix.Flock(c.held, unix.LOCK_UN)
		c.locked = false
	}
}

// Lock takes the lock again after Yield, and waits for it. Where the container
// has been deleted meanwhile the error says so, also where another one has its
// ID: the descriptor kept by Yield keeps the inode from being used again.
func (c *Container) Lock() error {
	if c.held == 0 {
		return c.lock(true)
	}
	if err := flock(c.held, true); err != nil {
		return fault.From(err, "lock", c.dir).In(fault.PhaseState)
	}
	if !stillAt(c.held, c.dir) {
		c.Unlock()
		return errNotExist(c.ID)
	}
	c.locked = true
	return nil
}

// status derives the container's state from what is there; nothing that could
// be out of date is stored.
func (c *Container) status() specs.ContainerState {
	switch {
	case c.rebooted:
		return specs.StateStopped
	case c.record.PID == 0 && c.abandoned():
		return specs.StateStopped
	case c.record.PID == 0:
		return specs.StateCreating
	case !c.alive():
		return specs.StateStopped
	}
	if frozen, err := c.group().Frozen(); err == nil && frozen {
		return StatusPaused
	}
	if unix.Access(c.path(fifoFile), unix.F_OK) == nil {
		return specs.StateCreated
	}
	return specs.StateRunning
}

// abandoned tells whether nobody is creating this container any more: a
// creator holds the lock to the end, so who gets it sees what a killed one left.
func (c *Container) abandoned() bool {
	if c.locked {
		return true
	}
	probe := &Container{ID: c.ID, dir: c.dir}
	defer probe.Unlock()
	return probe.lock(false) == nil
}

// alive tells whether pid is still the process that started at that time and
// has not ended.
func alive(pid int, start uint64) bool {
	got, ended, err := startTime(pid)
	return err == nil && !ended && got == start
}

// alive tells whether init has not ended.
func (c *Container) alive() bool { return !c.rebooted && alive(c.record.PID, c.record.StartTime) }

// startTime reads field 22 of /proc/PID/stat, clock ticks after boot, and
// whether the process has ended (proc_pid_stat(5)).
func startTime(pid int) (ticks uint64, ended bool, err error) {
	raw, err := host.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, true, err
	}
	return parseStat(raw)
}

// statFields are the fields of /proc/PID/stat from the third on: the second is
// a name in parentheses that may hold anything.
func statFields(raw []byte) [][]byte { return bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:]) }

func parseStat(raw []byte) (ticks uint64, ended bool, err error) {
	fields := statFields(raw)
	if len(fields) < 20 {
		return 0, true, fmt.Errorf("stat has %d fields", len(fields))
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, strings.ContainsAny(string(fields[0]), "ZXx"), err
}

// State describes the container as `state` prints it.
func (c *Container) State() State {
	status := c.status()
	pid := c.record.PID
	if status == specs.StateStopped {
		pid = 0
	}
	return State{
		Version: specs.Version, ID: c.ID, PID: pid, Status: status,
		Bundle: c.record.Bundle, Rootfs: c.record.Rootfs, Created: c.record.Created,
		Annotations: c.record.Annotations, Owner: userName(c.record.UID),
	}
}

// hookState is the state that hooks read (runtime.md#state).
// pid is init's as the hook sees it.
func (c *Container) hookState(status specs.ContainerState, pid int) []byte {
	raw, err := json.Marshal(c.specState(status, pid))
	if err != nil {
		panic(err) // strings and numbers only
	}
	return raw
}

func (c *Container) specState(status specs.ContainerState, pid int) specs.State {
	return specs.State{
		Version: specs.Version, ID: c.ID, Status: status, Pid: pid,
		Bundle: c.record.Bundle, Annotations: c.record.Annotations,
	}
}

// userName is the name of uid, or "#uid" where it has none.
func userName(uid int) string {
	raw, _ := host.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(raw)) {
		fields := strings.Split(line, ":")
		if len(fields) > 2 && fields[2] == strconv.Itoa(uid) {
			return fields[0]
		}
	}
	return fmt.Sprintf("#%d", uid)
}
