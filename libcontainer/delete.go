package libcontainer

import (
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// killPatience is how long a killed container may take to end.
const killPatience = 10 * time.Second

// Delete removes a stopped container: its group, its state directory; then
// come the poststop hooks. A created one is killed first, as managers rely on
// (runtime.md would refuse it). A running one needs force. c must be locked.
func (c *Container) Delete(force bool) error {
	status := c.status()
	switch {
	case status == specs.StateStopped, status == specs.StateCreated, force:
	default:
		return &fault.Error{Op: "delete", Path: c.ID, Phase: fault.PhaseState, Code: "not-stopped",
			Msg:  "cannot delete container " + c.ID + " that is not stopped: " + string(status),
			Hint: "kill it first, or use delete --force"}
	}
	hooks, err := c.hooksFor("poststop")
	if err != nil {
		c.warn(fault.From(err, "hook", "poststop")) // config.json is damaged
	}
	return c.stop(hooks)
}

// stop kills what runs, takes back what was made and runs the poststop hooks,
// whose failure is only worth a word (runtime.md#lifecycle).
func (c *Container) stop(hooks *specs.Hooks) error {
	trace.Phase("kill")
	if err := c.killInit(); err != nil {
		return err
	}
	if err := c.takeBack(); err != nil {
		return err
	}
	return c.runHooks(hooks, "poststop", specs.StateStopped)
}

// killInit ends init and waits for its end.
func (c *Container) killInit() error {
	if !c.alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil {
		return nil
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	// The pid may have been reused before the descriptor was open.
	if !c.alive() {
		return nil
	}
	unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	// A frozen process of cgroup v1 dies only once it is thawed.
	if frozen, err := c.group().Frozen(); err == nil && frozen {
		c.group().Freeze(false)
	}
	if !awaitEnd(pidfd, int(killPatience.Milliseconds())) {
		return &fault.Error{Op: "kill", Path: c.ID, Msg: "container init still running", Phase: fault.PhaseSignal,
			Hint: "it hangs in the kernel: look at /proc/PID/stack of its processes"}
	}
	return nil
}

// takeBack removes all that create made, in any state that a killed runtime
// may have left it in.
func (c *Container) takeBack() error {
	trace.Phase(fault.PhaseCgroup)
	group := c.group()
	if err := group.Kill(); err != nil {
		return err
	}
	if err := group.Delete(); err != nil {
		return err
	}
	trace.Phase(fault.PhaseState)
	if err := c.record.Resctrl.Delete(); err != nil {
		return err
	}
	if c.record.HostMount != 0 {
		if err := unmountRoot(c.record.Rootfs, c.record.HostMount); err != nil {
			return err
		}
	}
	return removeState(c.dir)
}

// removeState removes a state directory: what belongs in it by name, and with
// more work whatever else there is.
func removeState(dir string) error {
	for _, name := range [...]string{stateFile, configFile, fifoFile} {
		unix.Unlink(dir + "/" + name)
	}
	if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fault.From(err, "remove", dir).In(fault.PhaseState)
	}
	return nil
}

// unmountRoot takes back the one mount that carries all mounts of a container
// without a mount namespace. before is the mount that was there at first: it
// may be a manager's, and stays.
func unmountRoot(rootfs string, before uint64) error {
	for range 8 {
		now, err := mountID(rootfs)
		if err != nil || now == before {
			return nil
		}
		if err := unix.Unmount(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fault.From(err, "unmount", rootfs).In(fault.PhaseMounts)
		}
	}
	return nil
}

// mountID is the mount that a path leads to (statx(2), Linux 5.8).
func mountID(path string) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fault.From(err, "stat", path)
	}
	return st.Mnt_id, nil
}

// ForceRemove deletes whatever there is of container id, also where its record
// is missing or damaged. A container that does not exist is no error.
// warn is told what is no failure, and may be nil.
func ForceRemove(root, id string, warn func(*fault.Error)) error {
	c, err := find(root, id)
	if err != nil {
		return err
	}
	defer c.Unlock()
	c.Warn = warn
	// What cannot be locked is no directory, or another user's.
	if c.lock(true) == nil && c.readRecord() == nil {
		return c.Delete(true)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fault.From(err, "remove", c.dir).In(fault.PhaseState)
	}
	return nil
}
