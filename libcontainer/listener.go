package libcontainer

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/process"
	"berth/libcontainer/supervise"
)

// sendListener hands the descriptor of a process's filter, and with it the
// answers to what the filter notifies, to the agent that listener names, and
// closes it (config-linux.md, "The Container Process State"). A process that
// nobody would answer must not be executed: an error is a failure.
func (c *Container) sendListener(listener *process.Listener, fd *os.File, pid int, status specs.ContainerState) error {
	defer fd.Close()
	initPID := c.record.PID
	if initPID == 0 {
		initPID = pid
	}
	raw, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: listener.Metadata,
		State: c.specState(status, initPID),
	})
	if err != nil {
		panic(err) // strings and numbers only
	}
	err = supervise.SendFile(listener.Path, fd, raw)
	if err == nil {
		return nil
	}
	e := fault.From(err, "seccomp listener", listener.Path).For("/linux/seccomp/listenerPath").In(fault.PhaseProcess)
	e.Hint = "the seccomp agent has to listen on this socket before the container is created"
	return e
}
