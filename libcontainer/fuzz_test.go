package libcontainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// FuzzPlan plans whatever loads, on every machine: it never panics, what
// compiles holds to the security rules, and compiling twice gives the same.
func FuzzPlan(f *testing.F) {
	for _, change := range configurations() {
		spec := bundle.Default(false, 0, 0)
		if change != nil {
			change(spec)
		}
		raw, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	seeds, _ := filepath.Glob("bundle/testdata/*.json")
	for _, path := range seeds {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Load(dir)
		if err != nil {
			return
		}
		for machine, facts := range machines() {
			plan, err := NewPlan(b, facts, PlanOptions{ID: "fuzz", Fifo: true})
			if err != nil || hasFilter(b.Spec) && plan.CompileSeccomp("") != nil {
				continue
			}
			_ = plan.String()
			program, err := plan.Compile()
			if err != nil {
				continue // more registers than the walker has
			}
			if err := nsenter.Verify(program); err != nil {
				t.Errorf("%s: %v", machine, err)
			}
			holdExec(t, machine, b.Spec, facts)
			if again, err := plan.Compile(); err != nil || again.String() != program.String() {
				t.Errorf("%s: compiled twice, the programs differ (%v)", machine, err)
			}
		}
	})
}

// holdExec holds the program of the same process, joining such a container.
func holdExec(t *testing.T, machine string, spec *specs.Spec, facts host.Facts) {
	if spec.Process == nil {
		return
	}
	for _, own := range [][]string{nil, {"mnt", "pid"}, {"ipc", "uts", "net", "pid", "cgroup", "time", "mnt", "user"}} {
		c := &Container{ID: "fuzz", record: record{ID: "fuzz", PID: 42, Namespaces: own, Privileged: true}}
		plan, err := c.planExec(&specs.Spec{Version: spec.Version, Process: spec.Process, Linux: spec.Linux}, facts, 1)
		if err != nil || plan.compileSeccomp("") != nil {
			continue
		}
		program, err := plan.compile()
		if err != nil {
			continue
		}
		if err := nsenter.Verify(program); err != nil {
			t.Errorf("%s, exec, %v: %v", machine, own, err)
		}
	}
}

func hasFilter(s *specs.Spec) bool { return s.Linux != nil && s.Linux.Seccomp != nil }
