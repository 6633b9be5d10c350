package nsenter

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ForkInto has its child in the group: by birth or, where a filter around the
// runtime knows no clone3, by a move.
func TestForkInto(t *testing.T) {
	dir := cgroup2(t)
	group := filepath.Join(dir, fmt.Sprintf("berth-fork-into-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Rmdir(group) })
	for _, filtered := range []bool{false, true} {
		t.Run(fmt.Sprintf("clone3 filtered %v", filtered), func(t *testing.T) {
			program := built(t, 1, func(b *Builder) {
				if filtered {
					b.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", Num(1))
					b.Seccomp(withoutClone3(), 0)
				}
				b.ForkInto(1)
				b.Sync(SyncReady)
				b.Exit(0)
			})
			c := start(t, Config{})
			if err := c.Send(program, []*os.File{open(t, group, unix.O_PATH)}); err != nil {
				t.Fatal(err)
			}
			names, pid := talk(t, c, 2)
			if pid == c.PID {
				t.Fatalf("no child after %v", names)
			}
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if err != nil || !strings.Contains(string(raw), "0::/"+filepath.Base(group)+"\n") {
				t.Errorf("%v in %s", err, raw)
			}
			unix.Kill(pid, unix.SIGKILL)
			for range 100 {
				if unix.Rmdir(group) == nil {
					break
				}
				unix.Poll(nil, 20)
			}
			if err := os.Mkdir(group, 0o755); err != nil {
				t.Error(err)
			}
		})
	}
}

// withoutClone3 is a filter that answers ENOSYS to clone3.
func withoutClone3() []byte {
	var out []byte
	add := func(code uint16, jt, jf uint8, k uint32) {
		out = binary.NativeEndian.AppendUint16(out, code)
		out = binary.NativeEndian.AppendUint32(append(out, jt, jf), k)
	}
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, 0)
	add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, unix.SYS_CLONE3)
	add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))
	add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_ALLOW)
	return out
}

// cgroup2 is where a cgroup2 hierarchy is mounted that groups can be made in.
func cgroup2(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Skip("[cgroup2] no cgroup2 is mounted")
	return ""
}
