package userns

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// Open makes a user namespace with a mapping, by which a mount can be mapped (mount_setattr(2)). The descriptor is the
// caller's. It takes CAP_SYS_ADMIN and the ids.
func Open(m Mapping) (*os.File, error) {
	// A process has to live in it until it is open: any that waits.
	holder := exec.Command("cat")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: sysMap(m.UIDs), GidMappings: sysMap(m.GIDs),
		GidMappingsEnableSetgroups: true,
	}
	pipe, err := holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := holder.Start(); err != nil {
		e := fault.From(err, "make a user namespace", "")
		e.Hint = "the ranges of a mapping must not overlap"
		return nil, e
	}
	defer holder.Wait()
	defer pipe.Close()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid))
	if err != nil {
		return nil, fault.From(err, "make a user namespace", "")
	}
	return f, nil
}

func sysMap(ids []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, m := range ids {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return out
}
