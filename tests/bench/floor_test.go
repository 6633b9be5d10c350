package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// portrait is a script by which a container describes itself.
const portrait = `
PATH=/bin:/sbin:/usr/bin
b=/bin/busybox
cat /proc/self/mountinfo
$b grep -E '^(Cap|NoNewPrivs|Groups|Uid|Gid|Umask)' /proc/self/status
$b hostname; $b pwd; $b env | $b grep -v -E '^(SHLVL|PWD|OLDPWD|_)='
cat /proc/self/cgroup
$b grep 'open files' /proc/self/limits
$b ls -ln /dev | $b awk '{print $1,$3,$4,$5,$6,$(NF-2),$(NF-1),$NF}' | $b sed -E 's/ [0-9]+:[0-9]+ / /g'
for n in cgroup ipc mnt net pid uts user time; do $b readlink /proc/self/ns/$n; done
cat /sys/class/net/lo/flags
$b ls /proc/self/fd | $b wc -l
cat /proc/self/stat | $b cut -d' ' -f6
`

// inMountNamespace gives the test a thread with a mount namespace of its own; the thread dies with the test.
func inMountNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip("[root] needs CAP_SYS_ADMIN: " + err.Error())
	}
}

// TestFloorIsTheSameContainer compares what a container of the floor and one of runc say about themselves.
func TestFloorIsTheSameContainer(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("[runc] needs runc to compare with")
	}
	mounts, err := readCgroupMounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range viewsHere(mounts) {
		t.Run(name, func(t *testing.T) {
			inMountNamespace(t)
			v, err := enterView(name)
			if err != nil {
				t.Fatal(err)
			}
			b := testBench(t, v)
			want := b.portrait(t, contender{"runc", runc, ociArgv})
			got := b.portrait(t, contender{"floor", b.floor(t), floorArgv})
			want = replaceLine(want, groupsTmpfsOfRunc, strings.Replace(groupsTmpfsOfRunc, " rw,", " ro,", 1))
			for _, line := range without(want, got) {
				t.Errorf("runc only:  %s", line)
			}
			for _, line := range without(got, want) {
				t.Errorf("floor only: %s", line)
			}
		})
	}
}

// groupsTmpfsOfRunc: config.json asks for a read-only /sys/fs/cgroup; runc 1.1 leaves its tmpfs writable on cgroup v1.
const groupsTmpfsOfRunc = "# / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755"

func replaceLine(lines []string, old, now string) []string {
	for i, line := range lines {
		if line == old {
			lines[i] = now
		}
	}
	return lines
}

func testBench(t *testing.T, v view) *bench {
	t.Helper()
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("[busybox] needs busybox-static")
	}
	if err := makeRootfs(rootfs, "/bin/busybox"); err != nil {
		t.Fatal(err)
	}
	return &bench{view: v, dir: dir, rootfs: rootfs, prefix: fmt.Sprintf("berth-bench-test-%d-", os.Getpid())}
}

func (b *bench) floor(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("[gcc] needs gcc")
	}
	bin, err := buildFloor(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// portrait runs the script and returns its lines without what differs between any two containers.
func (b *bench) portrait(t *testing.T, d contender) []string {
	t.Helper()
	t.Cleanup(func() { b.sweep(d) })
	c := b.container(d, "plain")
	c.args = []string{"/bin/sh", "-c", portrait}
	if err := os.MkdirAll(c.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeBundle(c.bundle, defaultConfig(b.view, c.rootfs, "/"+c.id, c.args...)); err != nil {
		t.Fatal(err)
	}
	argv := d.command("run", c)
	run := exec.Command(argv[0], argv[1:]...)
	var complaints bytes.Buffer
	run.Stderr = &complaints
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", d.name, err, out, complaints.String())
	}
	return alike(string(out), c.id)
}

// alike drops the numbers by which the kernel tells containers apart, and the order of lines.
func alike(text, id string) []string {
	text = strings.ReplaceAll(text, id, "ID")
	for _, number := range []string{
		`(?m)^\d+ \d+ \d+:\d+ `, // mount, parent and device
		`master:\d+`,
		`\[\d+\]$`, // namespace
	} {
		text = regexp.MustCompile(number).ReplaceAllString(text, "# ")
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if strings.Contains(line, ":[") {
			lines[i], _, _ = strings.Cut(line, "[")
		}
	}
	slices.Sort(lines)
	return lines
}

// without returns the lines of a that b has fewer of. Both are sorted.
func without(a, b []string) []string {
	left := slices.Clone(b)
	var only []string
	for _, line := range a {
		if i := slices.Index(left, line); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			only = append(only, line)
		}
	}
	return only
}
