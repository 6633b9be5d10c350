package libcontainer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
	"berth/nsenter"
	"berth/rootfs"
)

// AddMounts mounts in a container that runs what file lists as config.json
// would. Where one fails, those before it are unmounted again; mount points that
// were made stay. Errors point into file. c must be locked.
func (c *Container) AddMounts(file string) error {
	return toldIn(file, c.addMounts(file))
}

// RemoveMounts unmounts in a container that runs what is mounted where the
// entries of file say, the last one first; all else in them is passed over. None
// is unmounted unless something is mounted at each. c must be locked.
func (c *Container) RemoveMounts(file string) error {
	return toldIn(file, c.removeMounts(file))
}

// toldIn makes errors point into file, where the mounts are, and not into
// config.json.
func toldIn(file string, err error) error {
	fault.Each(err, func(e *fault.Error) {
		if entry, ok := strings.CutPrefix(string(e.Field), "/mounts"); ok {
			e.Doc, e.Field = filepath.Base(file), fault.Pointer(entry)
		}
		if e.Phase == fault.PhaseMounts && e.Hint == "" {
			e.Hint = rootfs.Explain(e.Op, e.Errno)
		}
	})
	return err
}

func (c *Container) addMounts(file string) (err error) {
	init, spec, err := c.mountable(file)
	if err != nil {
		return err
	}
	defer init.Close()
	facts := Facts(spec)
	plan, complaints := rootfs.NewAddition(spec, facts, c.mountOptions(spec, facts))
	if err := bundle.CheckMounts(spec).Add(complaints).Err(); err != nil {
		return err
	}
	sources, err := rootfs.Open(plan.Sources())
	defer func() { closeAll(sources) }()
	if err != nil {
		return err
	}
	var attached []*os.File
	defer func() { closeAll(attached) }()
	var undo fault.Undo
	defer func() { err = undo.OnError(err) }()
	undo.Add(func() error { return c.detach(init, attached) })
	return c.walk(init, sources, func(f *os.File) { attached = append(attached, f) }, plan.CompileAddition)
}

func (c *Container) removeMounts(file string) error {
	init, spec, err := c.mountable(file)
	if err != nil {
		return err
	}
	defer init.Close()
	facts := Facts(spec)
	places, complaints := rootfs.NewRemoval(spec, facts, c.mountOptions(spec, facts))
	if err := complaints.Err(); err != nil {
		return err
	}
	return c.walk(init, nil, nil, func(b *nsenter.Builder, root, proc nsenter.Reg, _ []nsenter.Reg) {
		rootfs.CompileRemoval(b, root, proc, places)
	})
}

// detach takes back what has been attached.
func (c *Container) detach(init *os.File, attached []*os.File) error {
	if len(attached) == 0 {
		return nil
	}
	return c.walk(init, attached, nil, func(b *nsenter.Builder, _, proc nsenter.Reg, mounts []nsenter.Reg) {
		rootfs.CompileDetach(b, proc, mounts)
	})
}

// mountable returns a pidfd of the container's init, which is the caller's, and
// its configuration with the mounts of file and the root where it is now.
func (c *Container) mountable(file string) (*os.File, *specs.Spec, error) {
	mounts, err := bundle.LoadMounts(file)
	if err != nil {
		return nil, nil, err
	}
	e := &fault.Error{Op: "mounts", Path: c.ID, Phase: fault.PhaseMounts}
	switch status := c.status(); {
	case status == specs.StateStopped || status == specs.StateCreating:
		e.Msg, e.Code = "cannot change the mounts of a container that has "+describe(status), "not-running"
		if status == specs.StateStopped {
			e.Msg = "cannot change the mounts of a stopped container"
		}
		return nil, nil, e
	case !c.hasOwn("mnt"):
		e.Msg = "the container has no mount namespace of its own: its mounts are the host's"
		return nil, nil, e
	}
	whole, err := c.spec()
	if err != nil {
		return nil, nil, err
	}
	init, err := c.openInit()
	if err != nil {
		return nil, nil, err
	}
	spec := *whole
	spec.Mounts = mounts
	spec.Root = &specs.Root{Path: fmt.Sprintf("/proc/%d/root", c.record.PID)}
	return init, &spec, nil
}

func (c *Container) mountOptions(spec *specs.Spec, facts host.Facts) rootfs.Options {
	namespaces, _ := planNamespaces(spec, facts)
	return namespaces.rootfsOptions(c.record.Bundle)
}

// mountSteps appends what is to be done in the container: root is its root, proc
// a trusted procfs, files the registers of the descriptors that it wants.
type mountSteps func(b *nsenter.Builder, root, proc nsenter.Reg, files []nsenter.Reg)

// mountProgram joins the container, all but its pid namespace: so nothing in
// there sees the process. It receives a pidfd of init, and then the files.
func (c *Container) mountProgram(files int, steps mountSteps) (*nsenter.Program, error) {
	const init, first = nsenter.Reg(1), nsenter.Reg(2)
	b := nsenter.NewBuilder(1 + files)
	at := func(op string) { b.For(nsenter.Origin{Op: op, Phase: fault.PhaseNamespaces}) }
	at("open a procfs")
	proc := rootfs.CompileHostProc(b)
	at(opJoin)
	b.Setns(init, c.ownNamespaces()&^unix.CLONE_NEWPID)
	b.Close(init)
	if c.hasOwn("user") {
		becomeRoot(b)
	}
	at("open the container's root")
	root := b.OpenHost("/", unix.O_PATH|unix.O_DIRECTORY)
	b.RootOpen()
	regs := make([]nsenter.Reg, files)
	for i := range regs {
		regs[i] = first + nsenter.Reg(i)
	}
	steps(b, root, proc, regs)
	b.Exit(0)
	return b.Program()
}

// walk has a child do what steps say. take gets the descriptors that it hands
// over, which are the caller's then; files stay the caller's.
func (c *Container) walk(init *os.File, files []*os.File, take func(*os.File), steps mountSteps) error {
	program, err := c.mountProgram(len(files), steps)
	if err != nil {
		return err
	}
	child, err := nsenter.Start(nsenter.Config{Stdio: [3]int{0, 1, 2}})
	if err != nil {
		return err
	}
	defer child.Close()
	if err := child.Send(program, append([]*os.File{init}, files...)); err != nil {
		unix.Kill(child.PID, unix.SIGKILL)
		child.Wait()
		return err
	}
	return follow(child, take)
}

// follow waits for the end of a child that executes nothing.
func follow(child *nsenter.Child, take func(*os.File)) error {
	for {
		event, err := child.Next()
		switch {
		case err != nil:
			child.Wait()
			return err
		case event.FD != nil:
			take(event.FD)
		case event.End:
			status, err := child.Wait()
			if err == nil && status != 0 {
				err = &fault.Error{Op: "mounts", Msg: "the process that was to mount died: " + supervise.ExitStatus(status).String(), Phase: fault.PhaseMounts}
			}
			return err
		}
	}
}
