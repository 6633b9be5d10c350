package cgroups

import (
	"errors"
	"os"
	"strings"
	"testing"

	"berth/libcontainer/fault"

	"golang.org/x/sys/unix"
)

// plainDir stands in for a group: its files exist or do not, and keep what is
// written.
func plainDir(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPerform(t *testing.T) {
	dir := plainDir(t, "io.weight", "memory.max", "memory.current=100\n", "pids.max")
	tests := []struct {
		name  string
		w     Write
		errno error  // nil: succeeds
		file  string // that holds the value afterwards
	}{
		{"plain", Write{File: "pids.max", Value: "1"}, nil, "pids.max"},
		{"missing", Write{File: "pids.min", Value: "1"}, unix.ENOENT, ""},
		{"missing, optional", Write{File: "pids.min", Value: "1", Optional: true}, nil, ""},
		{"first choice missing", Write{File: "io.bfq.weight", Value: "7", Else: &Write{File: "io.weight", Value: "8"}}, nil, "io.weight"},
		{"both missing", Write{File: "io.bfq.weight", Value: "7", Else: &Write{File: "io.w", Value: "8"}}, unix.ENOENT, ""},
		{"above the usage", Write{File: "memory.max", Value: "101", Below: "memory.current"}, nil, "memory.max"},
		{"usage unknown", Write{File: "memory.max", Value: "1", Below: "memory.now"}, nil, "memory.max"},
	}
	for _, tt := range tests {
		tt.w.Dir, tt.w.Field = dir, "/linux/resources/x"
		want := tt.w.Value
		if tt.w.Else != nil {
			tt.w.Else.Dir, tt.w.Else.Field = dir, tt.w.Field
			want = tt.w.Else.Value
		}
		err := perform(tt.w)
		if !errors.Is(err, tt.errno) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var e *fault.Error
		if errors.As(err, &e) && (e.Field != tt.w.Field || e.Phase != fault.PhaseCgroup || !strings.Contains(e.Error(), dir+"/")) {
			t.Errorf("%s: %+v", tt.name, e)
		}
		if tt.file == "" {
			continue
		}
		if got, err := readFile(dir, tt.file); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q %v", tt.name, got, err)
		}
	}
	err := perform(Write{Dir: dir, File: "memory.max", Value: "100", Below: "memory.current"})
	if err == nil || !strings.Contains(err.Error(), "current usage 100") {
		t.Error(err)
	}
}

func TestTolerable(t *testing.T) {
	for err, want := range map[error]bool{
		unix.ENOENT: true, unix.EOPNOTSUPP: true, errnoNotSupported: true, unix.EINVAL: false, unix.EPERM: false, unix.EBUSY: false,
	} {
		if tolerable(err) != want {
			t.Errorf("%v", err)
		}
	}
}

func TestAncestors(t *testing.T) {
	for _, tt := range []struct{ dir, mount, want string }{
		{"/sys/fs/cgroup/a/b", "/sys/fs/cgroup", "/sys/fs/cgroup /sys/fs/cgroup/a"},
		{"/sys/fs/cgroup/a", "/sys/fs/cgroup", "/sys/fs/cgroup"},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", ""},
		{"/sys/fs/cgroupx/a", "/sys/fs/cgroup", ""},
		{"/a/b", "/", "/ /a"},
	} {
		if got := strings.Join(ancestors(tt.dir, tt.mount), " "); got != tt.want {
			t.Errorf("%s: %s", tt.dir, got)
		}
	}
}
