package cgroups

import (
	"encoding/json"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Who gets the group, and when nobody does.
//
//spec:47
func TestDelegation(t *testing.T) {
	const (
		mounted  = `"mounts":[{"destination":"/proc","type":"proc"},{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["nosuid"]}]`
		readonly = `"mounts":[{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro"]}]`
		maps     = `"uidMappings":[{"containerID":0,"hostID":100000,"size":10},{"containerID":10,"hostID":5000,"size":1}]`
		both     = `"namespaces":[{"type":"cgroup"},{"type":"user"}]`
		root     = `,"process":{"user":{"uid":0}}`
	)
	for _, tt := range []struct{ on, spec, want string }{
		{"v2", `{` + mounted + `,"linux":{` + both + `,` + maps + `}` + root + `}`, "delegate /sys/fs/cgroup/x to user 100000   # /mounts/1"},
		{"bare", `{` + mounted + `,"linux":{` + both + `,` + maps + `}}`, "delegate /sys/fs/cgroup/x to user 100000   # /mounts/1"},
		{"v2", `{` + mounted + `,"linux":{` + both + `,` + maps + `},"process":{"user":{"uid":9}}}`, "delegate /sys/fs/cgroup/x to user 100009   # /mounts/1"},
		{"v2", `{` + mounted + `,"linux":{` + both + `,` + maps + `},"process":{"user":{"uid":10}}}`, "delegate /sys/fs/cgroup/x to user 5000   # /mounts/1"},
		{"v2", `{` + mounted + `,"linux":{"namespaces":[{"type":"cgroup"}]},"process":{"user":{"uid":7}}}`, "delegate /sys/fs/cgroup/x to user 7   # /mounts/1"},
		// Nobody: not mapped, root already, read-only, another's namespace, none, not alone.
		{"v2", `{` + mounted + `,"linux":{` + both + `,` + maps + `},"process":{"user":{"uid":11}}}`, ""},
		{"v2", `{` + mounted + `,"linux":{"namespaces":[{"type":"cgroup"}]}` + root + `}`, ""},
		{"v2", `{` + readonly + `,"linux":{` + both + `,` + maps + `}}`, ""},
		{"v2", `{"linux":{` + both + `,` + maps + `}}`, ""},
		{"v2", `{` + mounted + `,"linux":{"namespaces":[{"type":"cgroup","path":"/proc/1/ns/cgroup"},{"type":"user"}],` + maps + `}}`, ""},
		{"v2", `{` + mounted + `,"linux":{"namespaces":[{"type":"user"}],` + maps + `}}`, ""},
		{"v1", `{` + mounted + `,"linux":{` + both + `,` + maps + `}}`, ""},
		{"hybrid", `{` + mounted + `,"linux":{` + both + `,` + maps + `}}`, ""},
	} {
		var spec specs.Spec
		if err := json.Unmarshal([]byte(tt.spec), &spec); err != nil {
			t.Fatal(err)
		}
		spec.Linux.CgroupsPath = "/x"
		p, complaints := NewPlan(&spec, "id", machine(tt.on), Options{})
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		got := ""
		if p.Delegation != nil {
			got = p.Delegation.String()
		}
		if got != tt.want {
			t.Errorf("%s %s\ngot %q, want %q", tt.on, tt.spec, got, tt.want)
		}
	}
}
