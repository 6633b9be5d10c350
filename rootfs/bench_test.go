package rootfs

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/host"
	"berth/nsenter"
)

// BenchmarkPlan plans and compiles the default configuration.
func BenchmarkPlan(b *testing.B) {
	var spec specs.Spec
	if err := json.Unmarshal([]byte(defaultConfig), &spec); err != nil {
		b.Fatal(err)
	}
	spec.Root.Path = "rootfs"
	facts := host.Facts{Kernel: thisKernel, Caps: ^uint64(0)}
	b.ReportAllocs()
	for b.Loop() {
		plan, _ := NewPlan(&spec, facts, allNew)
		builder := nsenter.NewBuilder(1)
		plan.CompilePivot(builder, plan.CompileMounts(builder, []nsenter.Reg{1}))
	}
}
