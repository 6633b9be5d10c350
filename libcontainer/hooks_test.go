package libcontainer

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/supervise"
	"berth/nsenter"
)

// The programs of createContainer hooks hold to the security rules like all others.
func TestHookProgramsHold(t *testing.T) {
	all := []string{"ipc", "uts", "net", "pid", "cgroup", "time", "mnt", "user"}
	for _, own := range [][]string{nil, all[:7], all, {"mnt"}, {"pid"}, {"user", "mnt"}} {
		c := &Container{ID: "id", record: record{ID: "id", Namespaces: own}}
		program, err := c.hookProgram(supervise.HookCall{Hook: specs.Hook{Path: "/bin/hook"}, At: "/hooks/createContainer/0"})
		if err != nil {
			t.Errorf("%v: %v", own, err)
			continue
		}
		if err := nsenter.Verify(program); err != nil {
			t.Errorf("%v: %v", own, err)
		}
	}
}
