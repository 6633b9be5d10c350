package libcontainer

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/nsenter"
)

// privateNetwork gives the calling goroutine a network namespace of its own,
// until the test ends.
func privateNetwork(t *testing.T) {
	t.Helper()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	t.Cleanup(func() {
		if err := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Fatal(err) // the thread stays locked, and ends
		}
		runtime.UnlockOSThread()
		before.Close()
	})
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// addDevice makes the device dev0, which is up and has addresses.
func addDevice(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("busybox", "ip", "link", "add", "dev0", "type", "veth").CombinedOutput(); err != nil {
		t.Skipf("[veth] this kernel makes no veth devices: %s", out)
	}
	ip(t, "link", "set", "dev0", "up")
	ip(t, "addr", "add", "192.0.2.1/24", "dev", "dev0")
	ip(t, "addr", "add", "2001:db8::1/64", "dev", "dev0")
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("busybox", append([]string{"ip"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %q: %v: %s", args, err, out)
	}
	return string(out)
}

// TestDevicesComeBack breaks create behind the point at which network devices
// are moved, step by step: the host has them again, as they were.
//
//spec:44
func TestDevicesComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("[root] needs root")
	}
	needRoot(t)
	privateNetwork(t)
	addDevice(t)
	dir, root := testBundle(t, func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"dev0": {Name: "ctr0"}}
	}), t.TempDir()
	broken := []nsenter.Step{
		{Call: unix.SYS_CLOSE, Args: []nsenter.Arg{nsenter.Num(1 << 20)}},
		{Call: unix.SYS_EXIT_GROUP, Args: []nsenter.Arg{nsenter.Num(9)}},
	}
	tried, seen := 0, false
	for at := 0; ; at += 5 {
		var last int
		opt := testOptions(root, dir, "devices")
		opt.test.program = func(p *nsenter.Program) {
			first := 1 + slices.IndexFunc(p.Steps, func(s nsenter.Step) bool { return s.Origin.Field == "/linux/netDevices" })
			if last = lastBeforeReady(p); first+at < last {
				step := broken[at%2]
				step.Origin = p.Steps[first+at].Origin
				p.Steps[first+at] = step
			}
			last -= first
		}
		opt.test.event = func(e nsenter.Event) {
			// What comes after the move sees the device gone.
			if e.Sync == nsenter.SyncLimits {
				seen = seen || !strings.Contains(ip(t, "link"), "dev0")
			}
		}
		c, p, err := Create(opt)
		if err == nil { // the step stands on a branch that was not taken, or behind the end
			if out := ip(t, "link"); strings.Contains(out, "dev0") {
				t.Errorf("the container was made, and the host has its device:\n%s", out)
			}
			c.Delete(true)
			c.Unlock()
			p.Pidfd.Close()
			unix.Wait4(p.PID, nil, 0, nil)
			if at >= last {
				break
			}
			addDevice(t)
			continue
		}
		tried++
		out := ip(t, "addr", "show", "dev0")
		for _, want := range []string{",UP,", "inet 192.0.2.1/24 scope global dev0", "inet6 2001:db8::1/64 scope global"} {
			if !strings.Contains(out, want) {
				t.Fatalf("step %d: %v\nno %q in\n%s", at, err, want, out)
			}
		}
	}
	if !seen || tried < 10 {
		t.Errorf("%d failures, the device was away: %v", tried, seen)
	}
}
