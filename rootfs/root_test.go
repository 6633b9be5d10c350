package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
	"berth/nsenter"
)

// needRoot skips where a test needs what only root may do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("[busybox] needs /bin/busybox")
	}
}

// busyboxRoot is a bundle with a root file system of busybox.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	bundle := t.TempDir()
	if err := os.Chmod(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(bundle, "rootfs")
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return bundle
}

// container is what a root test runs.
type container struct {
	bundle string
	config string // JSON of a specs.Spec; root.path is added
	script string // for busybox's sh
	kernel host.Version
	opt    Options
	unpriv bool // plan as if without privileges
	clone  int  // further namespaces
	dump   bool
}

var thisKernel = host.Version{Major: 6, Minor: 18}

func (c container) plan(t *testing.T) *Plan {
	t.Helper()
	var spec specs.Spec
	if err := json.Unmarshal([]byte(c.config), &spec); err != nil {
		t.Fatal(err)
	}
	if spec.Root == nil {
		spec.Root = &specs.Root{}
	}
	spec.Root.Path = "rootfs"
	facts := host.Facts{Kernel: c.kernel, Caps: ^uint64(0)}
	if c.kernel == (host.Version{}) {
		facts.Kernel = thisKernel
	}
	if c.unpriv {
		facts.Caps = 0
	}
	c.opt.Bundle = c.bundle
	plan, bad := NewPlan(&spec, facts, c.opt)
	if err := bad.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

// program is the smallest that starts busybox in the plan's root.
func (c container) program(t *testing.T, plan *Plan) *nsenter.Program {
	t.Helper()
	n := len(plan.Sources())
	b := nsenter.NewBuilder(n)
	flags := c.clone
	if c.opt.MountNS {
		flags |= unix.CLONE_NEWNS
	}
	if c.opt.PIDNS {
		flags |= unix.CLONE_NEWPID
	}
	if c.opt.NetNS {
		flags |= unix.CLONE_NEWNET
	}
	if c.opt.CgroupNS {
		flags |= unix.CLONE_NEWCGROUP
	}
	if c.opt.UserNS {
		b.Unshare(unix.CLONE_NEWUSER)
		b.Sync(nsenter.SyncMaps)
		b.Append(unix.SYS_SETRESGID, nsenter.Num(0), nsenter.Num(0), nsenter.Num(0))
		b.Append(unix.SYS_SETRESUID, nsenter.Num(0), nsenter.Num(0), nsenter.Num(0))
	}
	b.Unshare(flags)
	if c.opt.PIDNS {
		b.Fork()
	}
	if c.opt.UserNS {
		b.Sync(nsenter.SyncLimits)
	}
	sources := make([]nsenter.Reg, n)
	for i := range sources {
		sources[i] = nsenter.Reg(i + 1)
	}
	regs := plan.CompileMounts(b, sources)
	plan.CompilePivot(b, regs)
	keepCapabilities(t, b)
	b.Inside()
	b.CloseRest(0)
	b.Execve(b.FindExec([]string{"/bin/busybox"}), []string{"sh", "-c", c.script}, []string{"PATH=/bin"})
	p, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	if err := nsenter.Verify(p); err != nil {
		t.Error(err)
	}
	return p
}

// run starts the container and returns what it prints and the error of the
// step that failed.
func (c container) run(t *testing.T) (string, error) {
	t.Helper()
	plan := c.plan(t)
	program := c.program(t, plan)
	if c.dump {
		t.Logf("%s\n%s", plan, program)
	}
	files, err := Open(plan.Sources())
	if err != nil {
		return "", err
	}
	defer closeAll(files)
	if plan.HostMounts {
		defer unix.Unmount(plan.Root, unix.MNT_DETACH)
	}
	return start(t, program, files)
}

func start(t *testing.T, program *nsenter.Program, files []*os.File) (string, error) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	child, err := nsenter.Start(nsenter.Config{Exe: self, Stdio: [3]int{int(null.Fd()), int(w.Fd()), int(w.Fd())}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Close()
	if err := child.Send(program, files); err != nil {
		t.Fatal(err)
	}
	if err := converse(t, child); err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), nil
}

func converse(t *testing.T, child *nsenter.Child) error {
	t.Helper()
	for {
		event, err := child.Next()
		switch {
		case err != nil:
			return err
		case event.End:
			return nil
		case event.FD != nil:
			t.Cleanup(func() { event.FD.Close() })
		case event.Sync == nsenter.SyncLimits:
			if err := child.Go(event.Sync); err != nil {
				t.Fatal(err)
			}
		case event.Sync == nsenter.SyncMaps:
			proc := fmt.Sprintf("/proc/%d/", child.PID)
			err := errors.Join(writeFile(proc+"uid_map", "0 100000 65536\n"), writeFile(proc+"gid_map", "0 100000 65536\n"),
				child.Go(event.Sync))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// table reads mountinfo into "target type options super" lines without the
// numbers, which differ from run to run.
func table(mountinfo string) []string {
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(mountinfo), "\n") {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		dash := slices.Index(f, "-")
		super := f[dash+3]
		if f[dash+1] != "tmpfs" && f[dash+1] != "proc" && f[dash+1] != "devpts" && f[dash+1] != "sysfs" {
			super = ""
		}
		out = append(out, strings.Join([]string{f[4], f[dash+1], f[5], strings.Join(f[6:dash], ","), f[dash+2], super}, " "))
	}
	return out
}

// defaultConfig is what "spec" writes, as far as the root file system goes.
const defaultConfig = `{
	"root": {"readonly": true},
	"process": {"cwd": "/work/deep"},
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
		{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
		{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
	],
	"linux": {
		"maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
		"readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
	}
}`

var allNew = Options{MountNS: true, PIDNS: true, NetNS: true}

func TestRootDefault(t *testing.T) {
	needRoot(t)
	before := hostMounts(t)
	c := container{
		bundle: busyboxRoot(t), config: defaultConfig, opt: allNew, clone: unix.CLONE_NEWIPC | unix.CLONE_NEWUTS, dump: testing.Verbose(),
		script: `busybox cat /proc/self/mountinfo; echo --; busybox ls -l /dev; echo --; busybox ls -lR /proc/scsi; busybox wc -c /proc/kcore;
			busybox touch /x /proc/sys/x; busybox ls /proc/self/fd; pwd; busybox ls -d /work/deep`,
	}
	out, err := c.run(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	old := c
	old.kernel = host.Version{Major: 5, Minor: 10}
	out2, err := old.run(t)
	if err != nil {
		t.Fatal(err)
	}
	a, b := table(mountinfoOf(out)), table(mountinfoOf(out2))
	if !slices.Equal(a, b) {
		t.Errorf("the program for Linux 5.10 gives other mounts:\n%s\n\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if after := hostMounts(t); after != before {
		t.Errorf("the host's mounts changed:\n%s\n%s", before, after)
	}
}

func mountinfoOf(out string) string {
	info, _, _ := strings.Cut(out, "--\n")
	return info
}

// hostMounts is the host's mounts in the test's own directories; elsewhere
// tests of other packages may be mounting at the same time.
func hostMounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Dir(t.TempDir()) + "/"
	return strings.Join(slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
		return !strings.Contains(line, " "+own)
	}), "\n")
}

// keepCapabilities sets those that there are: the rules want to see that somebody has decided.
func keepCapabilities(t *testing.T, b *nsenter.Builder) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		t.Fatal(err)
	}
	all := uint64(have[0].Permitted) | uint64(have[1].Permitted)<<32
	b.Capset(all, all, 0)
}
