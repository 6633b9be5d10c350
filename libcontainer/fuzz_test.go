package libcontainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
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
			if again, err := plan.Compile(); err != nil || again.String() != program.String() {
				t.Errorf("%s: compiled twice, the programs differ (%v)", machine, err)
			}
		}
	})
}

func hasFilter(s *specs.Spec) bool { return s.Linux != nil && s.Linux.Seccomp != nil }
