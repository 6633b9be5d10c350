package libcontainer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
)

// CheckpointOptions is what checkpoint is asked for.
type CheckpointOptions struct {
	criu.Dump     // without what is the container's
	StatusFD  int // is told with a NUL that lazy pages can be had; -1 is none
}

// What is written beside CRIU's images.
const (
	descriptorsFile = "descriptors.json" // where init's standard descriptors led, as other runtimes write it
	externalFile    = "external.json"    // []external
)

// Checkpoint writes the container's processes to opt.Images. Unless they are
// left running, or it was a pre-dump, the container is deleted then, as it
// would be when its process ends. c must be locked.
func (c *Container) Checkpoint(opt CheckpointOptions) error {
	if status := c.status(); status != specs.StateRunning && status != StatusPaused {
		return &fault.Error{Op: "checkpoint", Path: c.ID, Phase: fault.PhaseState, Code: "not-running",
			Msg: fmt.Sprintf("cannot checkpoint a container that is %s", status)}
	}
	if err := checkStatusFD(opt.StatusFD); err != nil {
		return err
	}
	hooks, err := c.hooksFor("poststop")
	if err != nil {
		return err
	}
	if err := opt.makeDirs(); err != nil {
		return err
	}
	plan, err := c.planCheckpoint(opt)
	if err != nil {
		return err
	}
	if err := plan.write(); err != nil {
		return err
	}
	if err := c.dump(plan, opt.StatusFD); err != nil || opt.LeaveRunning || opt.PreDump {
		return err
	}
	return c.stop(hooks)
}

func checkStatusFD(fd int) error {
	if fd < 0 {
		return nil
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil
	}
	return &fault.Error{Op: "option --status-fd", Path: strconv.Itoa(fd), Msg: "is not open for writing", Code: "usage"}
}

// makeDirs makes the directories that CRIU writes to, and finds the parent.
func (opt *CheckpointOptions) makeDirs() error {
	for _, dir := range []string{opt.Images, opt.Work} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fault.From(err, "mkdir", dir)
		}
	}
	if opt.Parent == "" || filepath.IsAbs(opt.Parent) {
		return nil
	}
	path := filepath.Join(opt.Images, opt.Parent)
	st, err := os.Stat(path)
	if err == nil && !st.IsDir() {
		err = unix.ENOTDIR
	}
	if err == nil {
		return nil
	}
	e := fault.From(err, "option --parent-path", path)
	e.Hint = "it names the directory of an earlier dump, relative to --image-path"
	return e
}

func (c *Container) planCheckpoint(opt CheckpointOptions) (p dumpPlan, err error) {
	if opt.ConfigFile, err = c.criuConfig(c.record.Annotations); err != nil {
		return p, err
	}
	facts, err := c.standing()
	if err != nil {
		return p, err
	}
	return planDump(opt.Dump, facts)
}

// savedBundle is the bundle as it was at create.
func (c *Container) savedBundle() (*bundle.Bundle, error) {
	if _, err := c.spec(); err != nil { // which believes no foreign file
		return nil, err
	}
	b, err := bundle.Load(c.dir)
	if err == nil {
		b.Dir = c.record.Bundle
	}
	return b, err
}

// standing is dumpFacts while the container's processes stand still, where they
// can be made to: what they have open does not move meanwhile.
func (c *Container) standing() (dumpFacts, error) {
	if frozen, err := c.group().Frozen(); err == nil && !frozen && c.group().Freeze(true) == nil {
		defer c.group().Freeze(false)
	}
	return c.dumpFacts()
}

func (c *Container) dumpFacts() (facts dumpFacts, err error) {
	b, err := c.savedBundle()
	if err != nil {
		return facts, err
	}
	machine := Facts(b.Spec)
	plan, err := NewPlan(b, machine, c.planOptions())
	if err != nil {
		return facts, err
	}
	if err := plan.Namespaces.canCRIU("checkpoint", machine); err != nil {
		return facts, err
	}
	if err := canCRIURoot("checkpoint", plan.Rootfs); err != nil {
		return facts, err
	}
	plan.Rootfs.ReadLinks()
	facts = dumpFacts{
		PID: c.record.PID, Root: c.record.Rootfs, External: plan.Rootfs.External(),
		Freezer: c.group().Freezer(), Places: map[string]string{}, Stdio: c.record.Stdio,
	}
	proc := "/proc/" + strconv.Itoa(facts.PID)
	raw, err := host.ReadFile(proc + "/mountinfo")
	if err != nil {
		return facts, errNotRunning(c.ID)
	}
	facts.Mounts = host.Mounts(raw)
	if raw, err = host.ReadFile("/proc/self/mountinfo"); err == nil {
		facts.HostMounts = host.Mounts(raw)
	}
	facts.findPlaces(proc)
	for _, j := range plan.Namespaces.Join {
		var st unix.Stat_t
		if criu.NamespaceKey(j.Kind) != "" && unix.Stat(proc+"/ns/"+j.Kind, &st) == nil {
			facts.Joined = append(facts.Joined, criu.Namespace{Kind: j.Kind, Inode: st.Ino})
		}
	}
	for fd := range facts.Links {
		facts.Links[fd], _ = os.Readlink(proc + "/fd/" + strconv.Itoa(fd))
	}
	pids, err := c.group().Procs()
	for _, pid := range append(pids, facts.PID) {
		facts.findFiles(pid)
	}
	return facts, err
}

// planOptions are those that the container was created with, as far as its
// mounts depend on them.
func (c *Container) planOptions() PlanOptions {
	opt := PlanOptions{ID: c.ID, CgroupManager: cgroups.ManagerCgroupfs}
	switch {
	case c.record.Cgroup.Unit != "":
		opt.CgroupManager = cgroups.ManagerSystemd
	case len(c.record.Cgroup.Dirs) == 0:
		opt.CgroupManager = cgroups.ManagerDisabled
	}
	if _, err := os.Lstat(c.NotifyDir()); err == nil {
		opt.Mounts = append(opt.Mounts, supervise.NotifyMount(c.NotifyDir()))
	}
	return opt
}

// findPlaces finds where in the container's root the targets are that are no
// mount points.
func (facts *dumpFacts) findPlaces(proc string) {
	root, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	for _, x := range facts.External {
		fd, err := host.OpenIn(root, x.Target, unix.O_PATH)
		if err != nil {
			continue
		}
		// The path as the container's root has it: that is where CRIU is, too.
		if place, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
			facts.Places[x.Target] = place
		}
		unix.Close(fd)
	}
}

// findFiles finds the regular files and terminals of the host's that a process has open:
// their mounts are none of the container's.
func (facts *dumpFacts) findFiles(pid int) {
	proc := "/proc/" + strconv.Itoa(pid)
	entries, _ := os.ReadDir(proc + "/fd")
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(proc+"/fd/"+e.Name(), &st) != nil {
			continue
		}
		f := outsideFile{Dev: uint64(st.Dev), Ino: st.Ino}
		switch {
		case isTTY(st.Mode, uint64(st.Rdev)):
			f.TTY = uint64(st.Rdev)
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			continue
		}
		id := mountOf(proc + "/fdinfo/" + e.Name())
		var err error
		if f.Mount, err = strconv.Atoi(id); err == nil && !slices.ContainsFunc(facts.Mounts, func(m host.Mount) bool { return m.ID == id }) {
			facts.Files = append(facts.Files, f)
		}
	}
}

// mountOf reads the mount's id from a file of /proc/PID/fdinfo; "" is none.
func mountOf(fdinfo string) string {
	info, _ := host.ReadFile(fdinfo)
	for line := range strings.Lines(string(info)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// write writes what a restore needs besides CRIU's images.
func (p dumpPlan) write() error {
	if p.PreDump {
		return nil
	}
	if p.table == nil {
		p.table = []external{}
	}
	for name, v := range map[string]any{descriptorsFile: p.descriptors, externalFile: p.table} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		path := filepath.Join(p.Images, name)
		if err := writeFile(path, raw); err != nil {
			return fault.From(err, "write", path)
		}
	}
	return nil
}

// dump has CRIU carry the plan out.
func (c *Container) dump(p dumpPlan, status int) error {
	null, err := openFile("/dev/null", unix.O_RDWR, 0)
	if err != nil {
		return fault.From(err, "open", "/dev/null")
	}
	defer unix.Close(null)
	// What CRIU has to say is in its log.
	worker, err := criu.Start(criu.Config{Stdio: [3]int{null, null, null}, Images: p.Images, Work: p.Work})
	if err != nil {
		return err
	}
	_, err = worker.Do(p.Request, func(n criu.Notice) error {
		if n.FD != nil {
			n.FD.Close()
		}
		if n.Script == "status-ready" && status >= 0 {
			unix.Write(status, []byte{0})
			unix.Close(status)
			status = -1
		}
		return nil
	})
	return p.Explain(err, "checkpoint", c.ID, criu.DumpLog)
}

// The annotation that names a configuration file of CRIU's, and what is used
// without it: Berth's own, or that of runc, which managers know.
const criuAnnotation = "org.criu.config"

var criuConfigs = [...]string{"/etc/criu/berth.conf", "/etc/criu/runc.conf"}

// criuConfig is the configuration file for CRIU; "" is none. What it says goes
// before what the command line says, and it can name programs to run: so it
// has to be a file that only root or the runtime's user may write, and not the
// container's.
func (c *Container) criuConfig(annotations map[string]string) (string, error) {
	path, given := annotations[criuAnnotation]
	if given && path == "" {
		return "", nil
	}
	for _, usual := range criuConfigs {
		if !given && unix.Access(usual, unix.F_OK) == nil {
			path = usual
			break
		}
	}
	if path == "" {
		return "", nil
	}
	field := fault.Pointer("/annotations").At(criuAnnotation)
	if !given {
		field = ""
	}
	e := checkConfig(path, c.record.Rootfs)
	if e == nil {
		return path, nil
	}
	e.Hint = "it can name programs that CRIU runs as root"
	return "", e.For(field)
}

// checkConfig complains about a configuration that the container, or others,
// may have written. CRIU goes without one that is not there.
func checkConfig(path, rootfs string) *fault.Error {
	if !filepath.IsAbs(path) {
		return &fault.Error{Op: "read", Path: path, Msg: "the path of CRIU's configuration has to be absolute"}
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || rootfs != "" && strings.HasPrefix(real+"/", strings.TrimSuffix(rootfs, "/")+"/") {
		return &fault.Error{Op: "read", Path: path, Msg: "CRIU's configuration is in the container's root file system"}
	}
	return foreign(&st, "read", path)
}
