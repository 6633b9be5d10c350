package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// A file and a directory cannot be mounted over one another, and the message
// has the words that managers look for.
func TestDiagnoseKinds(t *testing.T) {
	root, host := t.TempDir(), t.TempDir()
	file := filepath.Join(host, "file")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(root, "passwd"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ source, target, want string }{
		{file, "/etc", "bind " + file + " on /etc: the source is a file and the destination a directory: not a directory (config.json /mounts/0); bind a directory, or choose another destination"},
		{host, "/passwd", "bind " + host + " on /passwd: the source is a directory and the destination a file: not a directory (config.json /mounts/0); bind a file, or choose another destination"},
		{host, "/etc", "bind /etc: invalid argument (config.json /mounts/0)"},
		{host, "/missing", "bind /missing: invalid argument (config.json /mounts/0)"},
	}
	for _, tt := range tests {
		p := &Plan{Root: root, Ops: []Op{&Bind{Base: Base{Op: "bind", Field: "/mounts/0"}, Source: tt.source, Target: tt.target}}}
		e := &fault.Error{Op: "bind", Path: tt.target, Field: "/mounts/0", Errno: unix.EINVAL}
		if p.Diagnose(e); e.Error() != tt.want {
			t.Errorf("got  %s\nwant %s", e, tt.want)
		}
	}
}

// A procfs or sysfs that is covered anywhere keeps user namespaces below from having one.
func TestDiagnoseCovered(t *testing.T) {
	for _, tt := range []struct {
		op, want string
		points   []string
	}{
		{"mount proc", "as before", nil},
		{"mount proc", "here at /proc/keys: bind that one", []string{"/proc/keys", "/sys/firmware"}},
		{"mount proc", "here at /proc/a, /proc/b, /proc/c and others: bind", []string{"/proc/a", "/proc/b", "/proc/c", "/proc/d"}},
		{"mount sysfs", "as before", []string{"/sys/fs/cgroup", "/sys/kernel/debug", "/proc/a"}},
		{"mount sysfs", `here at /sys/firmware: bind that one, {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]}`,
			[]string{"/sys/fs/cgroup", "/sys/firmware"}},
	} {
		info := "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /proc rw - proc p rw\n3 1 0:3 / /sys rw - sysfs s rw\n"
		for i, point := range tt.points {
			info += fmt.Sprintf("%d %d 0:4 / %s rw - tmpfs t rw\n", 10+i, map[bool]int{true: 2, false: 3}[strings.HasPrefix(point, "/proc")], point)
		}
		e := &fault.Error{Op: tt.op, Errno: unix.EPERM, Hint: "as before"}
		if diagnoseCovered(e, []byte(info)); !strings.Contains(e.Hint, tt.want) {
			t.Errorf("%s %v: %s", tt.op, tt.points, e.Hint)
		}
	}
}

func TestDiagnoseOwner(t *testing.T) {
	plan := func(userNS bool) *Plan {
		m := &Mount{Base: Base{"mount", "/mounts/2"}, Type: "devpts", Target: "/dev/pts", source: -1}
		m.Flags.Params = []Param{param("mode=0620", 1), param("gid=5", 2)}
		return &Plan{Ops: []Op{m}, m: machine{userNS: userNS}}
	}
	for _, tt := range []struct {
		userNS bool
		field  fault.Pointer
		want   string
	}{
		{true, "/mounts/2/options/2", "where the user namespace has no gid 5, leave the option out"},
		{true, "/mounts/2", "where the user namespace has no gid 5, leave the option out"},
		{true, "/mounts/2/options/1", ""},
		{false, "/mounts/2/options/2", ""},
	} {
		e := &fault.Error{Op: "mount devpts", Field: tt.field, Errno: unix.EINVAL}
		if plan(tt.userNS).Diagnose(e); !strings.HasPrefix(e.Hint, tt.want) || tt.want == "" && e.Hint != "" {
			t.Errorf("%+v: %q", tt, e.Hint)
		}
	}
}
