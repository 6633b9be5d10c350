// Package netdev moves network devices of the host into a container's network
// namespace (config-linux.md, "Network Devices").
//
// The way back is the kernel's: when the namespace ends, physical devices
// return to the initial one and virtual devices are destroyed
// (network_namespaces(7)). Only a create that fails gives its devices back.
package netdev

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Device is one device to move.
type Device struct {
	Host  string        `json:"host"` // its name on the host
	Name  string        `json:"name"` // in the container; of "eth%d" the kernel makes a name that is free
	Field fault.Pointer `json:"field"`
}

// template tells whether the kernel completes the name.
func (d Device) template() bool { return strings.Contains(d.Name, "%") }

func (d Device) String() string {
	if d.Name == d.Host {
		return "move network device " + d.Host
	}
	return fmt.Sprintf("move network device %s as %s", d.Host, d.Name)
}

// NewPlan decides what becomes of /linux/netDevices, in the order of the
// host's names. Whether the names can be names is package bundle's to say.
func NewPlan(spec *specs.Spec) []Device {
	if spec.Linux == nil || len(spec.Linux.NetDevices) == 0 {
		return nil
	}
	devices := spec.Linux.NetDevices
	out := make([]Device, 0, len(devices))
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		d := Device{Host: name, Name: devices[name].Name, Field: field.At(name)}
		if d.Name == "" {
			d.Name = name
		}
		out = append(out, d)
	}
	return out
}

const field = fault.Pointer("/linux/netDevices")

// Permitted complains where the runtime has no rights over the host's
// devices.
func Permitted(devices []Device, facts host.Facts) error {
	if len(devices) == 0 || facts.Privileged() && facts.Has(unix.CAP_NET_ADMIN) {
		return nil
	}
	return &fault.Error{Op: "move network device", Path: devices[0].Host, Field: field, Errno: unix.EPERM,
		Phase: fault.PhasePlan, Msg: "the host's devices are not this user's to give away", Hint: explain(unix.EPERM)}
}
