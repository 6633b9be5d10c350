package process

import (
	"fmt"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// CompileEarly adds what the process does with the runtime's own rights, before
// it joins any namespace: I/O priority, and, where the runtime cannot reach
// into the /proc directory of its non-dumpable child, the OOM score. Those
// files are its user's only while it is dumpable, and nothing foreign is there
// yet.
func (p *Plan) CompileEarly(b *nsenter.Builder) {
	if p.oomScore != nil && p.early {
		value := fmt.Sprint(*p.oomScore)
		origin(b, "/process/oomScoreAdj", "oom_score_adj", value)
		b.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", nsenter.Num(1))
		fd := b.OpenHost("/proc/self/oom_score_adj", unix.O_WRONLY)
		b.Write(fd, value)
		b.Close(fd)
		b.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", nsenter.Num(0))
	}
	if p.ioprio != nil {
		origin(b, "/process/ioPriority", "ioprio_set", p.ioprio.text)
		b.IoprioSet(p.ioprio.value)
	}
}

// CompileSetup adds what needs the namespaces and all privileges: session,
// keyring, labels, host and domain name, kernel parameters. proc is the trusted
// procfs handle; a plan that joins a container needs none, and has had its
// labels from CompileLabels. It comes after the hooks that may make the network interfaces of
// which parameters are set, and after the fork: the session is init's.
func (p *Plan) CompileSetup(b *nsenter.Builder, proc nsenter.Reg) {
	p.finalCPUs(b)
	origin(b, "", "setsid", "")
	b.Setsid()
	p.setLabels(b, proc, labelKeys)
	p.joinKeyring(b)
	p.unsetLabels(b, proc, labelKeys)
	if !p.joins {
		p.CompileLabels(b, proc)
	}
	if p.hostname != "" {
		origin(b, "/hostname", "sethostname", p.hostname)
		b.Sethostname(p.hostname)
	}
	if p.domainname != "" {
		origin(b, "/domainname", "setdomainname", p.domainname)
		b.Setdomainname(p.domainname)
	}
	for _, s := range p.sysctls {
		origin(b, fault.Pointer("/linux/sysctl").At(s.key), "sysctl", s.key+"="+s.value)
		fd := b.ProcOpen(proc, "sys/"+s.path, unix.O_WRONLY)
		b.Write(fd, s.value)
		b.Close(fd)
	}
}

// joinKeyring gives the container a session keyring of its own, so that it
// does not see the runtime's. Kernels without keyrings, and seccomp profiles of
// an outer container that forbid them, are no failure. The user may search it
// besides what the kernel grants (KEY_POS_ALL, KEY_USR_VIEW|READ|LINK), in
// another user namespace everybody, because its root is "other" there.
func (p *Plan) joinKeyring(b *nsenter.Builder) {
	if !p.keyring {
		return
	}
	origin(b, "", "keyring", "_ses."+p.id)
	done := b.Label()
	key := b.JoinSessionKeyring("_ses." + p.id)
	b.Last().Accepts(unix.ENOSYS, unix.EPERM).Else(done)
	b.KeySetperm(key, 0x3f1b0008).Accepts(unix.EACCES, unix.EPERM)
	b.Place(done)
}

// CompileFinish adds the steps after the pivot: terminal, standard
// descriptors, working directory, privileges, and the search for the program.
// root is the container's root; console the terminal's descriptor, 0 without
// one; both are closed: a process that waits holds nothing that others could
// take. It returns the register for CompileExec.
//
// Where a seccomp filter is to be installed without no_new_privs, the process
// keeps CAP_SYS_ADMIN for CompileExec.
func (p *Plan) CompileFinish(b *nsenter.Builder, root, console nsenter.Reg) nsenter.Reg {
	p.console(b, console)
	p.reopenNull(b, root)
	p.chownStdio(b)
	p.attributes(b)
	p.limits(b, byProcess)
	p.dropBounding(b)
	p.becomeUser(b, root)
	origin(b, "", "close", "")
	b.Close(root)
	if console != 0 {
		b.Close(console)
	}
	origin(b, "", "close_range", "")
	b.CloseRest(p.preserve)
	origin(b, "/process/args/0", opFind, p.program())
	return b.FindExec(p.candidates())
}

func (p *Plan) console(b *nsenter.Builder, console nsenter.Reg) {
	if console == 0 {
		return
	}
	origin(b, "/process/terminal", "console", "")
	b.ControllingTTY(console)
	if p.size != nil {
		origin(b, "/process/consoleSize", "console", fmt.Sprintf("%dx%d", p.size.Width, p.size.Height))
		b.WindowSize(console, uint16(p.size.Height), uint16(p.size.Width))
		origin(b, "/process/terminal", "console", "")
	}
	for fd := range 3 {
		b.Dup3(console, fd)
	}
}

// reopenNull replaces the host's /dev/null behind a standard descriptor by the
// container's. An image without one, or with something else in its place,
// keeps the host's.
func (p *Plan) reopenNull(b *nsenter.Builder, root nsenter.Reg) {
	if !p.stdio[0].reopen && !p.stdio[1].reopen && !p.stdio[2].reopen {
		return
	}
	origin(b, "", "open", "/dev/null")
	other, done := b.Label(), b.Label()
	null := b.OpenIn(root, "/dev/null", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK)
	b.Last().Accepts(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM).Else(done)
	b.Check(null, nsenter.Identity{Type: unix.S_IFCHR, Rdev: devNull}).Accepts(unix.EXDEV).Else(other)
	for fd, s := range p.stdio {
		if s.reopen {
			b.Dup3(null, fd)
		}
	}
	b.Place(other)
	b.Close(null)
	b.Place(done)
}

// chownStdio gives the standard descriptors to the user. Not every one can be
// given: a pipe from another user namespace, a file on a read-only mount.
func (p *Plan) chownStdio(b *nsenter.Builder) {
	for fd, s := range p.stdio {
		if s.chown {
			origin(b, "/process/user/uid", "chown", [...]string{"stdin", "stdout", "stderr"}[fd])
			b.FchownStdio(fd, int(p.user.UID), -1).Accepts(unix.EPERM, unix.EROFS, unix.EINVAL)
		}
	}
}

// attributes that need no order.
func (p *Plan) attributes(b *nsenter.Builder) {
	if p.personality != nil {
		origin(b, "/linux/personality/domain", "personality", p.personality.name)
		b.Personality(p.personality.domain, p.personality.name)
	}
	if p.memory != nil {
		origin(b, "/linux/memoryPolicy", "set_mempolicy", p.memory.text)
		b.SetMempolicy(p.memory.mode, p.memory.name, p.memory.mask)
	}
	if p.noNewPrivs {
		origin(b, "/process/noNewPrivileges", "no_new_privs", "")
		b.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", nsenter.Num(1))
	}
}

// limits are those that the process sets itself at this point.
func (p *Plan) limits(b *nsenter.Builder, now setter) {
	for _, r := range p.rlimits {
		if r.by == now {
			origin(b, r.field, "prlimit", r.String())
			b.Prlimit(r.resource, r.name, r.soft, r.hard)
		}
	}
}

// dropBounding comes before the user changes: it needs CAP_SETPCAP.
func (p *Plan) dropBounding(b *nsenter.Builder) {
	for n := 0; n <= p.caps.last; n++ {
		if !p.caps.bounding.has(n) {
			origin(b, "/process/capabilities/bounding", "drop from the bounding set", capNames[n])
			b.DropBounding(n, capNames[n])
		}
	}
}

// becomeUser goes to the working directory and changes to the user, in the
// order in which both work: as root, or, where root may not enter the
// directory (NFS, FUSE), as the user. The program cannot go back, so what
// follows the attempt as root stands in it twice.
func (p *Plan) becomeUser(b *nsenter.Builder, root nsenter.Reg) {
	asUser, done := b.Label(), b.Label()
	origin(b, "/process/cwd", "chdir", p.cwd)
	dir := p.openCwd(b, root)
	b.Last().Accepts(unix.EACCES, unix.EPERM).Else(asUser)
	b.Fchdir(dir).Accepts(unix.EACCES, unix.EPERM).Else(asUser)
	b.Close(dir)
	p.credentials(b)
	p.inside(b).Then(done)

	b.Place(asUser)
	p.credentials(b)
	origin(b, "/process/cwd", "chdir", p.cwd)
	dir = p.openCwd(b, root)
	b.Fchdir(dir)
	b.Close(dir)
	p.inside(b)
	b.Place(done)
}

func (p *Plan) openCwd(b *nsenter.Builder, root nsenter.Reg) nsenter.Reg {
	return b.OpenIn(root, p.cwd, unix.O_PATH|unix.O_DIRECTORY)
}

// inside refuses a working directory outside the root (CVE-2024-21626).
func (p *Plan) inside(b *nsenter.Builder) *nsenter.Step {
	origin(b, "/process/cwd", "chdir", p.cwd)
	return b.Inside()
}

// credentials changes umask, groups, user and capabilities.
func (p *Plan) credentials(b *nsenter.Builder) {
	origin(b, "/process/user/umask", "umask", octal(p.umask))
	b.Umask(p.umask)
	keep := p.user.UID != 0
	if keep {
		// Else the change to another user empties the permitted set.
		origin(b, "/process/capabilities", "prctl", "PR_SET_KEEPCAPS")
		b.Prctl(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", nsenter.Num(1))
	}
	p.setGroups(b)
	origin(b, "/process/user/gid", "setresgid", fmt.Sprint(p.user.GID))
	b.Setresgid(p.user.GID)
	origin(b, "/process/user/uid", "setresuid", fmt.Sprint(p.user.UID))
	b.Setresuid(p.user.UID)
	extra := p.keepForSeccomp()
	p.capset(b, extra)
	if keep {
		origin(b, "/process/capabilities", "prctl", "PR_SET_KEEPCAPS")
		b.Prctl(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", nsenter.Num(0))
	}
	p.raiseAmbient(b)
}

func (p *Plan) setGroups(b *nsenter.Builder) {
	if p.setgroups == groupsDenied {
		return
	}
	origin(b, "/process/user/additionalGids", "setgroups", fmt.Sprint(p.user.AdditionalGids))
	s := b.Setgroups(p.user.AdditionalGids)
	if p.setgroups == groupsTry {
		s.Accepts(unix.EPERM)
	}
}

// keepForSeccomp is CAP_SYS_ADMIN where the filter's installation needs it and
// the process would not have it.
func (p *Plan) keepForSeccomp() capSet {
	if p.seccomp == nil || p.noNewPrivs {
		return 0
	}
	return 1 << unix.CAP_SYS_ADMIN &^ p.caps.effective
}

// giveBackAdmin drops what keepForSeccomp kept.
func (p *Plan) giveBackAdmin(b *nsenter.Builder) {
	if p.keepForSeccomp() != 0 {
		p.capset(b, 0)
	}
}

func (p *Plan) capset(b *nsenter.Builder, extra capSet) {
	origin(b, "/process/capabilities", "capset", "")
	b.Capset(uint64(p.caps.effective|extra), uint64(p.caps.permitted|extra), uint64(p.caps.inheritable))
}

// raiseAmbient starts from an empty set: the runtime may have been started
// with ambient capabilities.
func (p *Plan) raiseAmbient(b *nsenter.Builder) {
	origin(b, "/process/capabilities/ambient", "ambient", "")
	b.Prctl(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT", nsenter.Const(unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"))
	for n := 0; n <= p.caps.last; n++ {
		if p.caps.ambient.has(n) {
			origin(b, "/process/capabilities/ambient", "ambient", capNames[n])
			b.Prctl(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT",
				nsenter.Const(unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"),
				nsenter.Const(uint64(n), capNames[n]))
		}
	}
}

func (p *Plan) installFilter(b *nsenter.Builder) {
	if p.seccomp == nil {
		return
	}
	origin(b, "/linux/seccomp", "seccomp", "")
	b.Seccomp(p.Filter.BPF, p.Filter.Flags)
	p.giveBackAdmin(b)
}

// CompileExec adds the end: the seccomp filter as the last thing
// that can be last, and execve of what CompileFinish found. A profile has to
// allow execve, and capset where the filter came before the capabilities.
//
// It panics where the config has a profile and Filter is not set: a container
// never starts without the filter it asked for.
func (p *Plan) CompileExec(b *nsenter.Builder, exec nsenter.Reg) {
	if p.seccomp != nil && p.Filter == nil {
		panic("process: linux.seccomp was not compiled")
	}
	p.limits(b, atLast)
	if p.listener == nil {
		p.installFilter(b)
	}
	origin(b, "/process/args/0", opExec, p.program())
	b.Execve(exec, p.args, p.env)
}
