package rootfs

import (
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// defaultDevices are in every container (config-linux.md, "Default Devices").
var defaultDevices = [...]struct {
	path         string
	major, minor uint32
}{
	{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7},
	{"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
}

var defaultLinks = [...]Link{
	{Name: "fd", To: "/proc/self/fd"},
	{Name: "stdin", To: "/proc/self/fd/0"},
	{Name: "stdout", To: "/proc/self/fd/1"},
	{Name: "stderr", To: "/proc/self/fd/2"},
	{Name: "core", To: "/proc/kcore", IfProc: "kcore"},
	{Name: "ptmx", To: "pts/ptmx", Replace: true},
}

// planDev fills /dev, unless the config binds a directory there: that is its
// owner's, and nothing is made in it.
func (p *planner) planDev() {
	if !p.ownDev() {
		if p.opt.Console {
			p.add(&Console{Base{"console", "/process/terminal"}})
		}
		return
	}
	given := p.planDevices()
	for _, d := range defaultDevices {
		if !given[d.path] {
			p.planDevice(&Device{
				Base: Base{Op: "mknod"}, Path: d.path, Type: "c", Major: d.major, Minor: d.minor, Mode: 0o666,
			})
		}
	}
	for _, l := range defaultLinks {
		l.Op = "link"
		p.add(&l)
	}
	if p.opt.Console {
		p.add(&Console{Base{"console", "/process/terminal"}})
	}
}

func (p *planner) ownDev() bool {
	for _, op := range p.Ops {
		if b, ok := op.(*Bind); ok && b.Target == "/dev" {
			return false
		}
	}
	return true
}

// planDevices plans /linux/devices and returns their paths.
func (p *planner) planDevices() map[string]bool {
	given := map[string]bool{}
	if p.spec.Linux == nil {
		return given
	}
	for i, d := range p.spec.Linux.Devices {
		field := fault.Pointer("/linux/devices").Index(i)
		if dev := p.device(d, field); dev != nil {
			given[dev.Path] = true
			p.planDevice(dev)
		}
	}
	return given
}

func (p *planner) device(d specs.LinuxDevice, field fault.Pointer) *Device {
	if !p.text(field.At("path"), "mknod", d.Path) {
		return nil
	}
	dev := &Device{Base: Base{"mknod", field}, Path: inside(d.Path), Type: d.Type, Mode: 0o666}
	switch d.Type {
	case "c", "b", "p":
	case "u":
		dev.Type = "c" // unbuffered: the same thing on Linux (mknod(1))
	default:
		p.complain(field.At("type"), "mknod", d.Path, "unknown type "+d.Type, "use c, b, u or p")
		return nil
	}
	if dev.Path == "/" {
		p.complain(field.At("path"), "mknod", d.Path, "a path is required", "")
		return nil
	}
	if dev.Type != "p" {
		if !deviceNumber(d.Major, d.Minor) {
			p.complain(field, "mknod", d.Path, "the device number is out of range", "")
			return nil
		}
		dev.Major, dev.Minor = uint32(d.Major), uint32(d.Minor)
	}
	if d.FileMode != nil {
		dev.Mode = uint32(*d.FileMode) & 0o7777
	}
	if d.UID != nil {
		dev.UID = *d.UID
	}
	if d.GID != nil {
		dev.GID = *d.GID
	}
	return dev
}

// deviceNumber holds the numbers to the kernel's 12 and 20 bits
// (include/linux/kdev_t.h).
func deviceNumber(major, minor int64) bool {
	return major >= 0 && major < 1<<12 && minor >= 0 && minor < 1<<20
}

// planDevice binds the host's node where mknod(2) is not allowed: devices in a
// user namespace (FIFOs are).
func (p *planner) planDevice(d *Device) {
	if d.Type != "p" && (p.m.userNS || p.m.nested || !p.m.privileged) {
		d.bind, d.Op = true, "bind-device"
		// The walker opens it, so that the flags of the host's mount stay locked.
		p.sources = append(p.sources, Source{Path: d.Path, Field: d.Field, Op: "bind-device", opener: early})
		d.source = len(p.sources) - 1
	}
	p.add(d)
}

// identity is what a node has to be.
func (d *Device) fileType() uint32 {
	switch d.Type {
	case "b":
		return unix.S_IFBLK
	case "p":
		return unix.S_IFIFO
	}
	return unix.S_IFCHR
}

func (d *Device) rdev() uint64 {
	if d.Type == "p" {
		return 0
	}
	return unix.Mkdev(d.Major, d.Minor)
}

func (d *Device) dir() string  { return path.Dir(d.Path) }
func (d *Device) name() string { return path.Base(d.Path) }
