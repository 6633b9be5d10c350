// Package defaults is the configuration that everything begins with which
// writes one: `berth spec`, and the layer tool for an image.
package defaults

import (
	"encoding/json"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Spec returns the configuration that `berth spec` writes: a shell on the
// bundle's rootfs, in namespaces of its own, with few capabilities. It says
// what `runc spec` says, under Berth's name.
//
// With rootless it is one that a user without privileges can run: in a user
// namespace whose root is euid and egid, in the host's network, and without
// limits.
func Spec(rootless bool, euid, egid int) *specs.Spec {
	spec := &specs.Spec{
		Version:  specs.Version,
		Process:  defaultProcess(),
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "berth",
		Mounts:   defaultMounts(),
		Linux:    defaultLinux(),
	}
	if rootless {
		makeRootless(spec, uint32(euid), uint32(egid))
	}
	return spec
}

// WithCgroupNamespace gives the container a cgroup namespace of its own, as
// `runc spec` does on machines that have only the cgroup v2 hierarchy.
func WithCgroupNamespace(spec *specs.Spec) *specs.Spec {
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	return spec
}

// Marshal returns a configuration as `berth spec` writes it: indented by one
// tab, without a newline at the end.
func Marshal(spec *specs.Spec) ([]byte, error) {
	return json.MarshalIndent(spec, "", "\t")
}

func defaultProcess() *specs.Process {
	caps := func() []string { return []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"} }
	return &specs.Process{
		Terminal: true,
		Args:     []string{"sh"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm",
		},
		Cwd: "/",
		Capabilities: &specs.LinuxCapabilities{
			Bounding:  caps(),
			Effective: caps(),
			Permitted: caps(),
		},
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		NoNewPrivileges: true,
	}
}

func defaultMounts() []specs.Mount {
	mount := func(destination, kind, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: destination, Type: kind, Source: source, Options: options}
	}
	return []specs.Mount{
		mount("/proc", "proc", "proc"),
		mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
		mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
	}
}

func defaultLinux() *specs.Linux {
	return &specs.Linux{
		Resources: &specs.LinuxResources{
			Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		},
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace},
			{Type: specs.NetworkNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.MountNamespace},
		},
		MaskedPaths: []string{
			"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
			"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
		},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
	}
}

// makeRootless changes what a user without privileges has no right to.
func makeRootless(spec *specs.Spec, euid, egid uint32) {
	l := spec.Linux
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: euid, Size: 1}}
	l.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: egid, Size: 1}}
	l.Resources = nil
	for i := range spec.Mounts {
		rootlessMount(&spec.Mounts[i])
	}
}

// rootlessMount binds the host's /sys, because the kernel mounts a sysfs only
// for the owner of a network namespace, and drops owners that are not mapped.
func rootlessMount(m *specs.Mount) {
	if m.Type == "sysfs" {
		m.Type, m.Source = "none", "/sys"
		m.Options = append([]string{"rbind"}, m.Options...)
	}
	m.Options = slices.DeleteFunc(m.Options, func(o string) bool {
		return strings.HasPrefix(o, "gid=") || strings.HasPrefix(o, "uid=")
	})
}
