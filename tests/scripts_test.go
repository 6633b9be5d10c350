// Package tests drives the built binary as its users do: transcripts of what is typed and what is seen (script/*.txtar),
// one broken config.json per file (faults/*.txtar), and the system calls of a container's init held to `berth plan --steps`.
//
// The binary is ../bin/berth, or $BERTH. Scripts are testscript's (rogpeppe/go-internal); the commands and conditions of
// ours are in commands_test.go and programs_test.go.
package tests

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

var update = flag.Bool("update", false, "write what was seen into script/peers.txt and the want files of faults/")

func TestMain(m *testing.M) {
	if rt, err := filepath.Abs("rt"); err == nil && os.Getenv("RT") == "" {
		os.Setenv("RT", rt) // for the program rt; users may have no way to it
	}
	testscript.Main(m, programs())
}

// Every transcript, with the cgroup file systems as they are mounted here. BERTH_TEST_CGROUPS=systemd runs them with the
// systemd manager.
func TestScripts(t *testing.T) {
	files := slices.DeleteFunc(glob(t, "script/*.txtar"), func(file string) bool { return isAlone(file) || runsForSystemd(t, file) })
	runScripts(t, scripts{runtime: berth(t), files: files, systemd: systemdCgroups()})
}

// The transcripts that would disturb others: they run when those have ended, each by itself.
func TestScriptsAlone(t *testing.T) {
	for _, file := range glob(t, "script/*-alone.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			runScripts(t, scripts{runtime: berth(t), files: []string{file}, systemd: systemdCgroups()})
		})
	}
}

// runsForSystemd tells whether another run on the same machine has a script, because it says itself that systemd makes groups.
func runsForSystemd(t *testing.T, file string) bool {
	name := strings.TrimSuffix(filepath.Base(file), ".txtar")
	if os.Getenv("BERTH_TEST_CGROUPS") != "cgroupfs" || !strings.HasPrefix(name, "systemd-") {
		return false
	}
	return t.Run(name, func(t *testing.T) { t.Skip("[cgroup-manager] the run for systemd has it") })
}

func isAlone(file string) bool { return strings.HasSuffix(file, "-alone.txtar") }

// The transcripts that speak of control groups, once more with only v1 and with only v2 to be seen.
func TestScriptsInViews(t *testing.T) {
	for _, view := range []string{"v1", "v2"} {
		t.Run(view, func(t *testing.T) {
			if !rootTests() {
				t.Skip("[root] needs root")
			}
			if !hybrid() {
				t.Skip("[hybrid] the machine has one layout only, and TestScripts ran in it")
			}
			runScripts(t, scripts{runtime: berth(t), view: view, files: mentioning(t, "v2]"), systemd: systemdCgroups()})
		})
	}
}

// One mistake or more in each config.json, and what is said about it.
func TestFaults(t *testing.T) {
	runScripts(t, scripts{runtime: berth(t), files: glob(t, "faults/*.txtar"), update: *update})
}

// scripts is one run over script files.
type scripts struct {
	runtime string // path of the binary
	view    string // what the runtime sees of the cgroup file systems: v1, v2, "" for all
	files   []string
	update  bool
	systemd bool // root's containers are scopes of systemd, unless a script says otherwise
}

func runScripts(t *testing.T, s scripts) {
	testscript.Run(t, s.params(t))
}

func (s scripts) params(t *testing.T) testscript.Params {
	root := publicDir(t)
	binary := filepath.Join(root, filepath.Base(s.runtime))
	if s.systemd {
		binary = underManager(t, root, s.runtime)
	} else {
		copyFile(t, s.runtime, binary)
	}
	rt := filepath.Join(root, "bin", "rt")
	if err := os.Mkdir(filepath.Dir(rt), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "rt", rt)
	template := sync.OnceValues(func() (template, error) { return newTemplate(root, binary) })
	return testscript.Params{
		Files:         s.files,
		WorkdirRoot:   root,
		UpdateScripts: s.update,
		Condition: func(c string) (bool, error) {
			if c == "cgroupfs" {
				return !s.systemd, nil
			}
			return condition(c, filepath.Base(s.runtime), s.view)
		},
		Cmds: commands(),
		Setup: func(env *testscript.Env) error {
			if err := os.Chmod(env.WorkDir, 0o755); err != nil {
				return err
			}
			id := containerID(env.WorkDir)
			env.Values[templateKey{}] = template
			env.Setenv("BINARY", s.runtime) // for use elsewhere: RUNTIME may be more than the binary
			env.Setenv("RUNTIME", binary)
			env.Setenv("RT", rt)
			if s.view == "" {
				env.Setenv("PATH", filepath.Dir(rt)+":"+env.Getenv("PATH"))
			}
			env.Setenv("NAME", filepath.Base(s.runtime))
			env.Setenv("ID", id)
			env.Setenv("VIEW", s.view)
			env.Setenv("CGROUP", s.group(id))
			env.Defer(func() { cleanUp(binary, env.WorkDir, id) })
			return nil
		},
	}
}

// group is the name of the directory that a container without cgroupsPath has in each hierarchy.
func (s scripts) group(id string) string {
	if s.systemd {
		return "berth-" + id + ".scope"
	}
	return id
}

// systemdCgroups tells whether the scripts are to be run with the systemd manager, of a machine that systemd runs.
func systemdCgroups() bool { return os.Getenv("BERTH_TEST_CGROUPS") == "systemd" }

// underManager makes a runtime of the same name that uses the systemd manager where root of the machine calls it. Other users
// have no systemd of their own here. What a script says of the manager comes later and counts.
func underManager(t *testing.T, root, runtime string) string {
	if on, _ := condition("systemd", "", ""); !on {
		t.Fatal("BERTH_TEST_CGROUPS=systemd needs a machine on which systemd is pid 1")
	}
	real := filepath.Join(root, "real", filepath.Base(runtime))
	if err := os.Mkdir(filepath.Dir(real), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, runtime, real)
	wrapper := filepath.Join(root, filepath.Base(runtime))
	text := "#!/bin/sh\n[ ! -O / ] || set -- --cgroup-manager systemd \"$@\"\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return wrapper
}

// containerID is one that no other script of any test run has.
func containerID(workDir string) string {
	name := strings.TrimPrefix(filepath.Base(workDir), "script-")
	run := filepath.Base(filepath.Dir(workDir))
	return name + "." + strings.TrimPrefix(run, dirPrefix)
}

const dirPrefix = "bt"

// publicDir is a temporary directory that users without privileges can reach, with a short name: socket paths have at
// most 107 bytes.
func publicDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Scripts run in parallel: they are subtests, and this comes after them.
	t.Cleanup(func() {
		if strings.Contains(mountinfo(), dir) {
			t.Errorf("mounts are left below %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// berth is the path of the binary under test.
func berth(t *testing.T) string {
	path := os.Getenv("BERTH")
	if path == "" {
		path = "../bin/berth"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no berth to test: run make first, or set BERTH (%v)", err)
	}
	return path
}

func glob(t *testing.T, pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts %s (%v)", pattern, err)
	}
	return files
}

// mentioning are the scripts with a text in them.
func mentioning(t *testing.T, text string) []string {
	var out []string
	for _, f := range glob(t, "script/*.txtar") {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), text) {
			out = append(out, f)
		}
	}
	return out
}

func copyFile(t *testing.T, from, to string) {
	if err := copyTo(from, to); err != nil {
		t.Fatal(err)
	}
}

// copyTo copies a program. A child that is forked meanwhile would hold the copy open for writing until it executes
// something, and whoever executes the copy would get ETXTBSY (https://go.dev/issue/22315).
func copyTo(from, to string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// condition is what scripts write in brackets.
func condition(name, tested, view string) (bool, error) {
	switch name {
	case "berth", "runc", "crun":
		return tested == name, nil
	case "root":
		return rootTests(), nil
	case "v1":
		return view == "v1" || view == "" && !unified(), nil
	case "v2":
		return view == "v2" || view == "" && unified(), nil
	case "hybrid":
		return view == "" && hybrid(), nil
	case "cgroup2":
		return unified() || hybrid(), nil
	case "systemd":
		_, err := os.Stat("/run/systemd/system")
		return err == nil, nil
	case "apparmor":
		enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		return strings.HasPrefix(string(enabled), "Y"), nil
	case "selinux":
		_, err := os.Stat("/sys/fs/selinux/enforce")
		return err == nil, nil
	case "userns":
		return userNamespaces(), nil
	case "bfq":
		raw, err := os.ReadFile("/sys/block/loop7/queue/scheduler")
		return err == nil && strings.Contains(string(raw), "bfq"), nil
	case "cpus2":
		return runtime.NumCPU() > 1, nil
	case "loop":
		_, err := os.Stat("/sys/block/loop0")
		return err == nil, nil
	case "rt_group":
		_, err := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
		return err == nil || view == "v2" || unified(), nil
	case "timens":
		_, err := os.Stat("/proc/self/ns/time")
		return err == nil, nil
	case "veth":
		return vethPairs(), nil
	case "tmpfs-idmap":
		return host.Probe().Kernel.AtLeast(6, 3), nil
	case "swap":
		raw, err := os.ReadFile("/proc/swaps") // a title, and a line for each
		return strings.Count(string(raw), "\n") > 1, err
	case "kept-affinity":
		return host.Probe().Kernel.AtLeast(6, 2), nil
	case "weighted-interleave":
		return host.Probe().Kernel.AtLeast(6, 9), nil
	case "numa":
		_, err := os.Stat("/proc/self/numa_maps")
		return err == nil, nil
	case "hugetlb":
		_, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB")
		return err == nil && controller("hugetlb"), nil
	case "rdma":
		return controller("rdma"), nil
	case "resctrl":
		return strings.Contains(mountinfo(), " - resctrl "), nil
	case "criu":
		return criuWorks(), nil
	case "sys_resource":
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
		return has == 1, err
	}
	if controller, ok := strings.CutPrefix(name, "controller:"); ok {
		return hasController(controller, view), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// Conditions that take a program to find out are found out once.
var (
	userNamespaces = sync.OnceValue(func() bool {
		command := []string{"unshare", "-U", "true"}
		if os.Geteuid() == 0 {
			command = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, command...)
		}
		return exec.Command(command[0], command[1:]...).Run() == nil
	})
	vethPairs = sync.OnceValue(func() bool {
		return exec.Command("unshare", "-n", "busybox", "ip", "link", "add", "dev0", "type", "veth").Run() == nil
	})
	criuWorks = sync.OnceValue(func() bool { return exec.Command("criu", "check").Run() == nil })
)

// hasController tells whether the view has a hierarchy with the controller, by its name on v2: v1 has "blkio" for "io".
func hasController(name, view string) bool {
	if view == "v1" || view == "" && !unified() {
		old := map[string]string{"io": "blkio"}
		raw, _ := os.ReadFile("/proc/self/cgroup")
		for line := range strings.Lines(string(raw)) {
			if f := strings.Split(line, ":"); len(f) == 3 && slices.Contains(strings.Split(f[1], ","), cmp.Or(old[name], name)) {
				return true
			}
		}
	}
	return view != "v1" && controller(name)
}

// rootTests tells whether tests that need root are run: -short is for those that do not.
func rootTests() bool { return os.Geteuid() == 0 && !testing.Short() }

// unified tells whether /sys/fs/cgroup is cgroup v2.
func unified() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// controller tells whether cgroup v2 has it here, alone or beside v1.
func controller(name string) bool {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		raw, _ := os.ReadFile(dir + "/cgroup.controllers")
		if slices.Contains(strings.Fields(string(raw)), name) {
			return true
		}
	}
	return false
}

// hybrid tells whether v2 stands beside v1.
func hybrid() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup/unified", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}
