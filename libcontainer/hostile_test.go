package libcontainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/defaults"
	"berth/libcontainer/host"
)

// spots calls each for every string and number below v, of a list for the
// first two; set puts another value there until the call returns.
func spots(v any, at string, each func(at string, was any, set func(any))) {
	visit := func(at string, was any, set func(any)) {
		switch was.(type) {
		case string, float64:
			each(at, was, set)
			set(was)
		default:
			spots(was, at, each)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k, was := range v {
			visit(at+"/"+k, was, func(x any) { v[k] = x })
		}
	case []any:
		for i, was := range v[:min(2, len(v))] {
			visit(at+"/"+strconv.Itoa(i), was, func(x any) { v[i] = x })
		}
	}
}

// TestHostileValues puts hostile values into every entry of configurations that
// are otherwise good. What is planned all the same holds to the rules, and
// whatever is said stays on its line.
func TestHostileValues(t *testing.T) {
	facts := machines()["6.18 cgroup2"]
	docs := map[string][]byte{}
	for name, change := range configurations() {
		spec := defaults.Spec(false, 0, 0)
		if change != nil {
			change(spec)
		}
		docs[name], _ = json.Marshal(spec)
	}
	for _, name := range []string{"docker.json", "podman.json", "containerd-cri.json"} {
		raw, err := os.ReadFile(filepath.Join("bundle/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = raw
	}
	dir, planned, refused := t.TempDir(), 0, 0
	for name, raw := range docs {
		var doc any
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		spots(doc, "", func(at string, was any, set func(any)) {
			var values []any
			if text, ok := was.(string); ok {
				values = []any{text + "\n", text + "\x1b[2J\r\u009b", "", "/", "..", "../" + text, text + "/..", strings.Repeat("x", 70000), strings.Repeat("/x", 2048)}
			} else {
				values = []any{-1, 0, 1 << 31, 1<<32 - 1, 1 << 32, json.Number("9223372036854775807"), json.Number("-9223372036854775808"), json.Number("18446744073709551615")}
			}
			for _, v := range values {
				set(v)
				changed, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				if seen[string(changed)] {
					continue
				}
				seen[string(changed)] = true
				if judgeRaw(t, dir, changed, facts) {
					planned++
				} else {
					refused++
				}
				if t.Failed() {
					t.Fatalf("%s: %s: %.100q", name, at, v)
				}
			}
		})
	}
	t.Logf("%d planned, %d refused", planned, refused)
	if planned < 100 || refused < 100 {
		t.Error("the values are not hostile, or the configurations not good")
	}
}

// judgeRaw is judgePlan for a document, which must be refused in order or
// planned.
func judgeRaw(t *testing.T, dir string, raw []byte, facts host.Facts) bool {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Load(dir)
	if err != nil {
		oneLineEach(t, err)
		return false
	}
	return judgePlan(t, "6.18 cgroup2", b, facts, PlanOptions{ID: "c", Fifo: true})
}

// TestTooManySources: what the walker cannot hold is refused with its entry
// before anything is made.
func TestTooManySources(t *testing.T) {
	b := load(t, func(s *specs.Spec) {
		for i := range 5000 {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m" + strconv.Itoa(i), Source: "/src" + strconv.Itoa(i), Type: "bind", Options: []string{"bind"}})
		}
	})
	plan, err := NewPlan(b, machines()["6.18 cgroup2"], PlanOptions{ID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = plan.Compile()
	const want = "compile the program: needs "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "(config.json /mounts); ") {
		t.Errorf("got %v", err)
	}
}
