package libcontainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
	"berth/nsenter"
)

// FuzzPlan plans whatever loads, on every machine and with every option: it
// never panics, what compiles holds to the security rules and is encoded, text
// has a line for each step, and compiling twice gives the same.
func FuzzPlan(f *testing.F) {
	seed := func(raw []byte) {
		f.Add(raw, uint8(1))
		f.Add(raw, uint8(0xee))
	}
	for _, change := range configurations() {
		spec := defaults.Spec(false, 0, 0)
		if change != nil {
			change(spec)
		}
		raw, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		seed(raw)
	}
	seeds, _ := filepath.Glob("bundle/testdata/*.json")
	for _, path := range seeds {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		seed(raw)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte, bits uint8) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Load(dir)
		if err != nil {
			oneLineEach(t, err)
			return
		}
		opt := PlanOptions{
			ID: "fuzz", Fifo: bits&1 != 0, NoPivot: bits&2 != 0, NoNewKeyring: bits&4 != 0, Rootless: cgroups.Rootless(bits >> 3 & 1),
			CgroupManager: []string{"cgroupfs", "disabled"}[bits>>4&1], Preserve: int(bits >> 5 & 3),
		}
		if bits&128 != 0 {
			opt.Env = []string{"HOME=/"}
			opt.Mounts = []specs.Mount{supervise.NotifyMount("/run/notify")}
		}
		for machine, facts := range machines() {
			if judgePlan(t, machine, b, facts, opt) {
				holdExec(t, machine, b.Spec, facts)
			}
		}
	})
}

// judgePlan holds one plan to what holds for all, and tells whether it was
// compiled.
func judgePlan(t *testing.T, machine string, b *bundle.Bundle, facts host.Facts, opt PlanOptions) bool {
	t.Helper()
	plan, err := NewPlan(b, facts, opt)
	if err != nil {
		oneLineEach(t, err)
		return false
	}
	if hasFilter(b.Spec) && plan.CompileSeccomp("") != nil {
		return false
	}
	for _, line := range plan.Lines() {
		if strings.ContainsAny(line, "\x00\n") {
			t.Errorf("%s: not one line: %q", machine, line)
		}
	}
	for _, note := range plan.Notes {
		oneLineEach(t, note)
	}
	program, err := plan.Compile()
	if err != nil {
		oneLineEach(t, err)
		return false
	}
	if err := nsenter.Verify(program); err != nil {
		t.Errorf("%s: %v", machine, err)
	}
	text := program.String()
	if again, err := plan.Compile(); err != nil || again.String() != text {
		t.Errorf("%s: compiled twice, the programs differ (%v)", machine, err)
	}
	if n := strings.Count(text, "\n"); n != len(program.Steps) {
		t.Errorf("%s: %d steps on %d lines", machine, len(program.Steps), n)
	}
	if _, err := program.Encode(); err != nil {
		t.Errorf("%s: %v", machine, err)
	}
	return true
}

// oneLineEach holds complaints to a line each, and to being of our kind.
func oneLineEach(t *testing.T, err error) {
	t.Helper()
	var list fault.List
	if !errors.As(err, &list) {
		var one *fault.Error
		if !errors.As(err, &one) {
			t.Errorf("%T: %v", err, err)
			return
		}
		list = fault.List{one}
	}
	for _, e := range list {
		if text := e.Error(); strings.ContainsAny(text, "\x00\n") || len(text) > 5*4096 {
			t.Errorf("not one line: %q", text)
		}
	}
}

func hasFilter(s *specs.Spec) bool { return s.Linux != nil && s.Linux.Seccomp != nil }

// FuzzState reads any bytes at all as a record. What is read is JSON, is what
// encoding/json reads, is written and read again as the same, and can be asked
// why a step failed.
func FuzzState(f *testing.F) {
	for _, r := range records() {
		f.Add(r.encode(), uint32(3))
		raw, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint32(376))
	}
	f.Add([]byte(`{"id":"c","pid":18446744073709551615,"uid":007,"hostMount":-1,"cgroup":{"dirs":[{"path":"/"},null]}}`), uint32(0))
	f.Add([]byte(`{"annotations":{"a":"1"},"annotations":{"b":"2"},"exec":{"first":4294967295,"steps":[{"call":65542},{}]}}`), uint32(4))
	f.Fuzz(func(t *testing.T, raw []byte, step uint32) {
		var got record
		if got.decode(raw) != nil {
			return
		}
		var theirs record
		if err := json.Unmarshal(raw, &theirs); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		var again record
		if err := again.decode(got.encode()); err != nil || !sameRecord(got, again) {
			t.Errorf("%v\nwritten: %s\n   read: %s", err, got.encode(), again.encode())
		}
		// It repairs what is not UTF-8, and merges the maps of a repeated key.
		if utf8.Valid(raw) && bytes.Count(raw, []byte(`"annotations"`)) < 2 && !sameRecord(got, theirs) {
			t.Errorf("\n got: %s\nwant: %s", got.encode(), theirs.encode())
		}
		if got.Exec != nil {
			_ = got.Exec.Failure(step, unix.ENOENT).Error()
		}
		if got.check("c") == nil {
			for _, d := range got.Cgroup.Dirs {
				if d.Path == d.Mountpoint || strings.Contains(d.Path, "/../") {
					t.Errorf("%q is taken for a group", d.Path)
				}
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
		c := &Container{ID: "fuzz", record: record{ID: "fuzz", PID: 42, Namespaces: own}}
		plan, err := c.planExec(&specs.Spec{Version: spec.Version, Process: spec.Process, Linux: spec.Linux}, facts, 1)
		if err != nil || compileSeccomp(plan.process, "") != nil {
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

func sameRecord(a, b record) bool { return bytes.Equal(a.encode(), b.encode()) }
