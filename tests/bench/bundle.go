package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"berth/tests/seccompprofile"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var (
	applets      = []string{"sh", "true", "sleep", "cat"}
	mountPoints  = []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp"}
	capabilities = []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
)

// makeRootfs makes a root file system of one static busybox with a few applets, below dir.
func makeRootfs(dir, busybox string) error {
	for _, name := range mountPoints {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("a static busybox is needed (Debian package busybox-static): %w", err)
	}
	binary := filepath.Join(dir, "bin/busybox")
	if err := os.WriteFile(binary, data, 0o755); err != nil {
		return err
	}
	for _, name := range applets {
		if err := os.Link(binary, filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// defaultConfig is what `runc spec` writes in the view, without a terminal: with a cgroup namespace where cgroup2 is
// the only hierarchy. cgroupsPath is absolute, so that every runtime makes its group at the same depth.
func defaultConfig(v view, rootfs, cgroupsPath string, args ...string) *specs.Spec {
	return &specs.Spec{
		Version:  "1.0.2",
		Process:  defaultProcess(args),
		Root:     &specs.Root{Path: rootfs, Readonly: true},
		Hostname: "berth-bench",
		Mounts:   defaultMounts(),
		Linux: &specs.Linux{
			CgroupsPath: cgroupsPath,
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces:  defaultNamespaces(v),
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

func defaultProcess(args []string) *specs.Process {
	return &specs.Process{
		Args: args,
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
		Cwd:  "/",
		Capabilities: &specs.LinuxCapabilities{
			Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
		},
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		NoNewPrivileges: true,
	}
}

func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

func defaultNamespaces(v view) []specs.LinuxNamespace {
	namespaces := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if v.name == "v2" {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return namespaces
}

// addSeccomp gives the config the profile file as a manager would.
func addSeccomp(config *specs.Spec, profile []byte, arch string) error {
	filter, err := seccompprofile.FromContainersJSON(profile, arch, config.Process.Capabilities.Bounding)
	config.Linux.Seccomp = filter
	return err
}

// writeBundle makes dir a bundle of the config.
func writeBundle(dir string, config *specs.Spec) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}
