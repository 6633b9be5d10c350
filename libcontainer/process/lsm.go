package process

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// label is what is written to an attribute of the process itself, from which a
// security module takes the label of what comes.
type label struct {
	module string // "apparmor", "selinux"
	value  string // as config.json has it
	at     labelled
	file   string // below thread-self/attr of procfs
	field  fault.Pointer
}

// labelled is what an attribute gives its label to.
type labelled uint8

const (
	labelExec labelled = iota // the program that is executed
	labelKeys                 // keys that are made meanwhile
)

// String is the label for a human.
func (l label) String() string { return l.module + " label " + l.value }

// written is what the module reads. SELinux reads the label, AppArmor a
// command (security/apparmor/lsm.c, apparmor_setprocattr).
func (l label) written() string {
	if l.module == "apparmor" {
		return "exec " + l.value
	}
	return l.value
}

// labelMax is how much of an attribute the kernel reads: behind a page it cuts
// the text off, and a shorter name is another profile (fs/proc/base.c,
// proc_pid_attr_write).
const labelMax = 4096

const (
	apparmorField = fault.Pointer("/process/apparmorProfile")
	selinuxField  = fault.Pointer("/process/selinuxLabel")
)

// labels plans process.apparmorProfile and process.selinuxLabel. What the
// kernel cannot do is refused: a process that should be confined must not run
// as if it were.
func (m *planner) labels(p *Plan, c *specs.Process) {
	lsm := m.facts.LSM
	switch name := c.ApparmorProfile; {
	case name == "", name == "unconfined" && !lsm.AppArmor:
	case !lsm.AppArmor:
		m.complain(apparmorField, name, "this kernel has no AppArmor, or has it disabled",
			`use "unconfined" or leave the entry out, or boot with apparmor=1 security=apparmor`)
	default:
		p.addLabel(m, label{"apparmor", name, labelExec, m.apparmorFile(), apparmorField})
	}
	switch name := c.SelinuxLabel; {
	case name == "":
	case !lsm.SELinux:
		m.complain(selinuxField, name, "this kernel has no SELinux, or has it disabled",
			"leave the entry out, or boot with selinux=1 security=selinux and mount /sys/fs/selinux")
	default:
		// A keyring is labelled by who makes it: it would be the runtime's.
		if p.keyring && !m.opt.Joins {
			p.addLabel(m, label{"selinux", name, labelKeys, "keycreate", selinuxField})
		}
		p.addLabel(m, label{"selinux", name, labelExec, "exec", selinuxField})
	}
}

func (p *Plan) addLabel(m *planner, l label) {
	switch {
	case len(l.written()) > labelMax:
		m.complain(l.field, "", "it is longer than the "+strconv.Itoa(labelMax)+" bytes that the kernel reads", "")
	case strings.ContainsAny(l.value, "\x00\n"):
		m.complain(l.field, l.value, "a zero byte or a line break cannot be part of it", "")
	default:
		p.labels = append(p.labels, l)
	}
}

// apparmorFile is AppArmor's own attribute; attr/exec belongs to whichever
// module comes first (Linux 5.8).
func (m *planner) apparmorFile() string {
	if m.facts.Kernel.AtLeast(5, 8) {
		return "apparmor/exec"
	}
	return "exec"
}

// CompileLabels adds the steps that label the program to be executed. A child
// inherits what they do, so they may come before a fork.
func (p *Plan) CompileLabels(b *nsenter.Builder, proc nsenter.Reg) { p.setLabels(b, proc, labelExec) }

// setLabels adds the steps that label what is named. They come before
// no_new_privs, with which AppArmor takes no other profile. proc is the trusted
// procfs: an image could pass off any file as the attribute (CVE-2019-16884).
func (p *Plan) setLabels(b *nsenter.Builder, proc nsenter.Reg, what labelled) {
	for _, l := range p.labels {
		if l.at == what {
			l.write(b, proc, l.written())
		}
	}
}

// unsetLabels takes back what setLabels did.
func (p *Plan) unsetLabels(b *nsenter.Builder, proc nsenter.Reg, what labelled) {
	for _, l := range p.labels {
		if l.at == what {
			l.write(b, proc, "")
		}
	}
}

func (l label) write(b *nsenter.Builder, proc nsenter.Reg, text string) {
	origin(b, l.field, l.module, l.value)
	fd := b.ProcOpen(proc, "thread-self/attr/"+l.file, unix.O_WRONLY)
	b.Write(fd, text)
	b.Close(fd)
}
