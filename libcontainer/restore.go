package libcontainer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/criu"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
)

// RestoreOptions is what restore is asked for.
type RestoreOptions struct {
	CreateOptions
	CRIU criu.Restore // without what is the container's
}

// Restore makes a container of the images of a checkpoint, under any ID. It
// runs already when Restore returns; there is nothing to release. Whatever
// fails, all that was made is taken back. The container is returned locked.
func Restore(opt RestoreOptions) (_ *Container, _ *Process, err error) {
	trace.Phase(fault.PhaseConfig)
	b, err := bundle.Load(opt.Bundle)
	if err != nil {
		return nil, nil, err
	}
	if err := checkID(opt.ID); err != nil {
		return nil, nil, err
	}
	if err := opt.checkTerminal(b.Spec.Process != nil && b.Spec.Process.Terminal); err != nil {
		return nil, nil, err
	}
	images, err := readImages(opt.CRIU.Images)
	if err != nil {
		return nil, nil, err
	}
	if images.notify() {
		opt.Mounts = append(opt.Mounts, supervise.NotifyMount(filepath.Join(opt.Root, opt.ID, notifyDir)))
		opt.Notify = true
	}
	trace.Phase("facts")
	facts := Facts(b.Spec)
	trace.Phase(fault.PhasePlan)
	plan, err := NewPlan(b, facts, opt.PlanOptions)
	if err != nil {
		return nil, nil, err
	}
	if err := plan.Namespaces.canCRIU("restore", facts); err != nil {
		return nil, nil, err
	}
	if err := canCRIURoot("restore", plan.Rootfs); err != nil {
		return nil, nil, err
	}
	if err := checkRoot(plan.Rootfs.Root); err != nil {
		return nil, nil, err
	}
	plan.Rootfs.ReadLinks()
	r := &restoration{creation: creation{
		launch: launch{options: opt.ProcessOptions, explain: plan.explain},
		opt:    opt.CreateOptions, plan: plan, bundle: b, facts: facts,
	}}
	mountinfo, _ := host.ReadFile("/proc/self/mountinfo")
	if r.request, err = planRestore(opt.CRIU, plan, images.external, images.descriptors, host.Mounts(mountinfo)); err != nil {
		return nil, nil, err
	}
	defer func() { err = r.takeBackOn(err) }()
	if err := r.makeState(); err != nil {
		return nil, nil, err
	}
	if err := r.restore(); err != nil {
		return nil, nil, err
	}
	return r.Container, &r.process, nil
}

// images is what a checkpoint has written beside CRIU's own.
type images struct {
	external    []external
	descriptors []string
}

func readImages(dir string) (i images, err error) {
	err = errors.Join(readJSON(dir, externalFile, &i.external), readJSON(dir, descriptorsFile, &i.descriptors))
	return i, err
}

func readJSON(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	raw, err := host.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err == nil {
		return nil
	}
	e := fault.From(err, "read", path)
	if errors.Is(err, fs.ErrNotExist) {
		e.Hint = "--image-path names a directory that berth checkpoint has written"
	}
	return e
}

// notify tells whether the process had a socket for sd_notify(3).
func (i images) notify() bool {
	target := supervise.NotifyMount("").Destination
	for _, x := range i.external {
		if x.Destination == target {
			return true
		}
	}
	return false
}

// restoration is a creation by CRIU: it makes what the walker makes else.
type restoration struct {
	creation
	request criu.Restore
}

// criuRoot is where CRIU sees the root file system, which has to be a mount
// point that nothing else is mounted on: in a mount namespace that only CRIU
// is in.
const criuRoot = "criu-root"

// prepare makes what CRIU expects to find.
func (r *restoration) prepare() (err error) {
	if r.request.ConfigFile, err = r.criuConfig(r.record.Annotations); err != nil {
		return err
	}
	for _, m := range r.plan.Rootfs.MountPoints() {
		if err := m.Make(); err != nil {
			return err
		}
	}
	if work := r.request.Work; work != "" {
		if err := os.MkdirAll(work, 0o700); err != nil {
			return fault.From(err, "mkdir", work)
		}
	}
	r.request.Root = r.path(criuRoot)
	if err := unix.Mkdir(r.request.Root, 0o700); err != nil {
		return fault.From(err, "mkdir", r.request.Root).In(fault.PhaseState)
	}
	return nil
}

func (r *restoration) restore() error {
	if err := r.prepare(); err != nil {
		return err
	}
	defer unix.Rmdir(r.request.Root)
	joined, err := r.inherited()
	if err != nil {
		return err
	}
	defer r.admit()()
	defer closeAll(joined)
	if r.adopts() {
		if err := supervise.SetSubreaper(true); err != nil {
			return err
		}
	}
	trace.Phase("criu")
	worker, err := criu.Start(criu.Config{
		Stdio: r.opt.Stdio, Files: joined, Images: r.request.Images, Work: r.request.Work,
		Bind: &[2]string{r.plan.Rootfs.Root, r.request.Root},
	})
	if err != nil {
		return err
	}
	defer worker.Close()
	explain := func(err error) error { return r.request.Explain(err, "restore", r.ID, criu.RestoreLog) }
	if err := r.enter(worker.PID); err != nil {
		return explain(worker.Because(err))
	}
	pid, err := worker.Do(r.request.Request, r.answer)
	if err != nil {
		return explain(err)
	}
	return r.restored(pid)
}

// admit lets the container's root search the directory of the images for as
// long as until the function that it returns is called: in a user namespace
// CRIU opens them as that user. Nobody else is let in.
func (r *restoration) admit() (end func()) {
	var st unix.Stat_t
	gid, mapped := hostID(r.plan.Namespaces.GIDs, 0)
	dir, err := openFile(r.request.Images, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return func() {} // CRIU will say so
	}
	if !mapped || unix.Fstat(dir, &st) != nil || st.Mode&unix.S_IXOTH != 0 {
		return func() { unix.Close(dir) }
	}
	// The mode comes last: chown(2) may take bits away.
	unix.Fchown(dir, -1, gid)
	unix.Fchmod(dir, st.Mode&0o7700|unix.S_IXGRP)
	return func() {
		unix.Fchown(dir, -1, int(st.Gid))
		unix.Fchmod(dir, st.Mode&0o7777)
		unix.Close(dir)
	}
}

// hostID is the host's id of one in a user namespace.
func hostID(mappings []specs.LinuxIDMapping, id uint32) (int, bool) {
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return int(m.HostID + id - m.ContainerID), true
		}
	}
	return 0, false
}

// inherited opens the namespaces that CRIU gets as descriptors, in the order
// of planRestore.
func (r *restoration) inherited() ([]*os.File, error) {
	var n Namespaces
	for _, j := range r.plan.Namespaces.Join {
		if criu.NamespaceKey(j.Kind) != "" {
			n.Join = append(n.Join, j)
		}
	}
	return n.open()
}

// enter makes the container's groups and puts CRIU into them, so that what it
// restores is born there, and tells it so: the images have the old ones.
func (r *restoration) enter(pid int) (err error) {
	group, err := cgroups.Make(r.plan.Cgroup, pid)
	r.group, r.record.Cgroup = group, group.State()
	if err != nil {
		return err
	}
	if err := r.save(); err != nil {
		return err
	}
	if err := r.group.Limit(r.plan.Cgroup); err != nil {
		return err
	}
	if err := r.group.Add(pid); err != nil {
		return err
	}
	r.request.CgRoots, err = cgRoots(pid)
	return err
}

// cgRoots is where a process is in each hierarchy (cgroups(7)).
func cgRoots(pid int) ([]criu.CgRoot, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	raw, err := host.ReadFile(path)
	if err != nil {
		return nil, fault.From(err, "read", path).In(fault.PhaseCgroup)
	}
	return parseCgRoots(string(raw)), nil
}

func parseCgRoots(text string) []criu.CgRoot {
	var out []criu.CgRoot
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 {
			out = append(out, criu.CgRoot{Controller: parts[1], Path: parts[2]})
		}
	}
	return out
}

// answer does what belongs between CRIU's steps.
func (r *restoration) answer(n criu.Notice) error {
	switch n.Script {
	case "setup-namespaces":
		// All namespaces are there and no process runs in them yet.
		if err := r.known(n.PID); err != nil {
			return err
		}
		return r.hooksOfRestore()
	case "orphan-pts-master":
		r.process.PTMX = n.FD
		return nil
	}
	if n.FD != nil {
		n.FD.Close()
	}
	if n.Script == "post-restore" { // all is there, and stopped
		if err := r.known(n.PID); err != nil {
			return err
		}
		return r.beforeResume()
	}
	return nil
}

// known notes which process is init, at the first chance.
func (r *restoration) known(pid int) (err error) {
	if r.process.PID != 0 {
		return nil
	}
	if err := r.adopt(pid); err != nil {
		return err
	}
	r.record.PID = pid
	if r.record.StartTime, _, err = startTime(pid); err != nil {
		return r.died()
	}
	return nil
}

// hooksOfRestore runs the hooks that get the namespaces ready; the others were
// run when the process was started.
func (r *restoration) hooksOfRestore() error {
	if r.plan.Hooks == nil {
		return nil
	}
	r.hooked = true
	defer trace.Phase("criu")
	if err := r.runHooks(r.plan.Hooks, "prestart", specs.StateCreated); err != nil {
		return err
	}
	return r.runHooks(r.plan.Hooks, "createRuntime", specs.StateCreating)
}

// beforeResume does what has to be done before the processes go on.
func (r *restoration) beforeResume() error {
	if err := r.group.Late(0); err != nil {
		return err
	}
	if err := r.plan.Resctrl.Apply(r.process.PID); err != nil {
		return err
	}
	r.record.Resctrl.Shared = ""
	if err := r.save(); err != nil {
		return err
	}
	return r.handOver("standard")
}

// restored is for CRIU's last word: nobody is told a pid that may still fail.
func (r *restoration) restored(pid int) error {
	if r.process.PID == 0 { // its configuration has notifications switched off
		if err := errors.Join(r.known(pid), r.beforeResume()); err != nil {
			return err
		}
	}
	return r.writePidFile()
}
