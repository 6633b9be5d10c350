package rootfs

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		op    string
		errno syscall.Errno
		want  string // a word of the hint; "" for none
	}{
		{"bind", unix.ENOENT, "source"},
		{"bind", unix.EINVAL, "rbind"},
		{"mount sysfs", unix.EPERM, "network namespace"},
		{"mount proc", unix.EPERM, "pid namespace"},
		{"mount cgroup2", unix.EPERM, "cgroup namespace"},
		{"mount cgroup", unix.EBUSY, "controllers"},
		{"mount ext4", unix.EPERM, "user namespace"},
		{"mount nofs", unix.ENODEV, "type"},
		{"mount tmpfs", unix.EINVAL, "option"},
		{"mount proc", unix.ENOTDIR, "not a link"},
		{"mknod", unix.EPERM, "CAP_MKNOD"},
		{"open", unix.ENOENT, "devpts"},
		{"idmap", unix.EINVAL, "file system"},
		{"pivot_root", unix.EINVAL, "--no-pivot"},
		{"remount", unix.EPERM, "locked"},
		{"tmpcopyup", unix.ENOSPC, "larger"},
		{"bind", unix.EIO, ""},
		{"", unix.ENOENT, ""},
	} {
		got := Explain(c.op, c.errno)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s, %v: got %q, want something with %q", c.op, c.errno, got, c.want)
		}
	}
	for _, h := range hints {
		if h.text == "" || strings.HasSuffix(h.text, ".") {
			t.Errorf("%s, %v: %q is no sentence without its stop", h.op, h.errno, h.text)
		}
	}
}
