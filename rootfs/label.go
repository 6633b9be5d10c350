package rootfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

const mountLabel = fault.Pointer("/linux/mountLabel")

// labelAt is the place of a parameter that linux.mountLabel asked for, in
// place of an index among an entry's options.
const labelAt = -2

// contextParams are the mount options of SELinux (mount(8)).
var contextParams = [...]string{"context", "fscontext", "defcontext", "rootcontext"}

// planLabel takes linux.mountLabel. A quote, which no label has, would end it
// early in the options of mount(2).
func (p *planner) planLabel() {
	if p.spec.Linux == nil || p.spec.Linux.MountLabel == "" {
		return
	}
	label := p.spec.Linux.MountLabel
	switch {
	case !p.facts.LSM.SELinux:
		p.complain(mountLabel, "mount", label, "this kernel has no SELinux, or has it disabled",
			"leave the entry out, or boot with selinux=1 security=selinux and mount /sys/fs/selinux")
	case strings.ContainsAny(label, "\x00\n\""):
		p.complain(mountLabel, "mount", label, "a quote, a line break or a zero byte cannot be part of it", "")
	case len(label) > paramMax:
		p.complain(mountLabel, "mount", "", "it is longer than the 255 bytes that a mount option can have", "")
	default:
		p.label = label
	}
}

// labelled adds the label to the parameters of a file system that takes one:
// files of procfs and sysfs have labels of the policy's. An entry with a
// context of its own keeps that.
func (p *planner) labelled(fstype string, params []Param) []Param {
	own := slices.ContainsFunc(params, func(q Param) bool { return slices.Contains(contextParams[:], q.Key) })
	if p.label == "" || own || fstype == "proc" || fstype == "sysfs" || fstype == "mqueue" {
		return params
	}
	return append(params, context(p.label))
}

// field is the entry that asked for q, in one that is mounted for field.
func (q Param) field(field fault.Pointer) fault.Pointer {
	if q.At == labelAt {
		return mountLabel
	}
	return optionField(field, q.At)
}

func context(label string) Param {
	return Param{Key: "context", Value: label, HasValue: true, At: labelAt}
}

// labelQueues labels a new mqueue: that of an IPC namespace is one superblock,
// whose context was decided when the namespace was made. r is its mount, not
// yet attached.
func (m *Mount) labelQueues(c *compiler, r nsenter.Reg) {
	if m.Type != "mqueue" || c.plan.label == "" {
		return
	}
	c.at(mountLabel, "mount "+m.Type, m.Target)
	root := c.b.OpenIn(r, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	c.b.Fsetxattr(root, "security.selinux", c.plan.label)
	c.b.Close(root)
	c.at(m.Field, "mount "+m.Type, m.Target)
}
