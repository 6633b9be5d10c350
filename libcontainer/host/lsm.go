package host

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// LSM says which security modules with labels of their own are in use.
type LSM struct{ AppArmor, SELinux bool }

// ProbeLSM asks the kernel. It is no part of Probe: only a container with
// labels needs to know.
func ProbeLSM() LSM {
	enabled, _ := ReadFile("/sys/module/apparmor/parameters/enabled")
	var fs unix.Statfs_t
	selinux := unix.Statfs("/sys/fs/selinux", &fs) == nil && uint32(fs.Type) == unix.SELINUX_MAGIC
	return LSM{AppArmor: bytes.HasPrefix(enabled, []byte("Y")), SELinux: selinux}
}
