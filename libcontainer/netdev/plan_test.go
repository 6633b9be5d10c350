package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// TestPlan plans devices in the order of their names, each with its entry.
//
//spec:44,45
func TestPlan(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{NetDevices: map[string]specs.LinuxNetDevice{
		"eth1": {Name: "net%d"}, "eth0": {Name: "ctr0"}, "a~b": {},
	}}}
	var got []string
	for _, d := range NewPlan(spec) {
		got = append(got, fmt.Sprintf("%s # %s", d, d.Field))
	}
	want := []string{
		"move network device a~b # /linux/netDevices/a~0b",
		"move network device eth0 as ctr0 # /linux/netDevices/eth0",
		"move network device eth1 as net%d # /linux/netDevices/eth1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	for _, none := range []*specs.Spec{{}, {Linux: &specs.Linux{}}} {
		if p := NewPlan(none); p != nil {
			t.Errorf("planned %v", p)
		}
	}
}

// TestPermitted: only who has rights over the host's devices may give them
// away.
func TestPermitted(t *testing.T) {
	devices := []Device{{Host: "eth0", Name: "eth0"}}
	full := host.Facts{Caps: 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN}
	for _, c := range []struct {
		devices []Device
		caps    uint64
		ok      bool
	}{
		{devices, full.Caps, true}, {nil, 0, true}, {devices, 0, false},
		{devices, 1 << unix.CAP_SYS_ADMIN, false}, {devices, 1 << unix.CAP_NET_ADMIN, false},
	} {
		err := Permitted(c.devices, host.Facts{Caps: c.caps})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%v with %x: %v", c.devices, c.caps, err)
		}
	}
	err := Permitted(devices, host.Facts{})
	const want = "move network device eth0: the host's devices are not this user's to give away: operation not permitted " +
		"(config.json /linux/netDevices); it needs CAP_NET_ADMIN and CAP_SYS_ADMIN over the network namespace that has the device: run as root"
	if err.Error() != want {
		t.Errorf("got %s", err)
	}
}

// TestFailureNamesTheEntry holds what is said of a refused device.
func TestFailureNamesTheEntry(t *testing.T) {
	d := Device{Host: "br0", Name: "br0", Field: "/linux/netDevices/br0"}
	for want, err := range map[string]error{
		"move network device br0: The interface netns is immutable: invalid argument (config.json /linux/netDevices/br0); " +
			"the kernel does not let every device go, such as a bridge or lo": &failure{unix.EINVAL, "The interface netns is immutable"},
		"move network device br0: bad message (config.json /linux/netDevices/br0)": unix.EBADMSG,
	} {
		if got := d.fail(err); got.Error() != want || got.Phase != fault.PhaseNamespaces {
			t.Errorf("got %s", got)
		}
	}
}

// TestHints: what the kernel refuses comes with what to try.
func TestHints(t *testing.T) {
	for errno, word := range map[unix.Errno]string{
		unix.ENODEV: "ip link", unix.EEXIST: "eth%d", unix.EPERM: "CAP_NET_ADMIN", unix.EACCES: "IPv6", unix.EINVAL: "bridge",
	} {
		if got := explain(errno); !strings.Contains(got, word) {
			t.Errorf("%v: %q", errno, got)
		}
	}
	if got := explain(unix.EIO); got != "" {
		t.Errorf("%q", got)
	}
}
