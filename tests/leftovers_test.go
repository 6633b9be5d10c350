package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func cmdLeftovers(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) < 2, "leftovers [ID]")
	id := ts.Getenv("ID")
	if len(args) == 1 {
		id = args[0]
	}
	var left []string
	// What is being torn down may be seen for a moment.
	gone := poll(func() bool {
		left = leftovers(ts.Getenv("WORK"), id)
		return len(left) == 0
	})
	if !gone {
		ts.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// leftovers lists what a container left on the machine: its state directory, groups, processes, mounts.
func leftovers(work, id string) []string {
	var left []string
	if _, err := os.Lstat(filepath.Join(work, "state", id)); err == nil {
		left = append(left, "state directory "+id)
	}
	dirs := groups(id)
	for _, dir := range dirs {
		left = append(left, "group "+dir)
	}
	for _, pid := range processes(dirs) {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	for line := range strings.Lines(mountinfo()) {
		if strings.Contains(line, work+"/") {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	return left
}

func mountinfo() string {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	return string(raw)
}

// groups are the directories of cgroup file systems that carry a name, the deepest first.
func groups(name string) []string {
	var out []string
	for line := range strings.Lines(mountinfo()) {
		fields := strings.Fields(line)
		i := slices.Index(fields, "-")
		if i < 0 || !strings.HasPrefix(fields[i+1], "cgroup") {
			continue
		}
		filepath.WalkDir(fields[4], func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(d.Name(), name) {
				out = append(out, path)
			}
			return nil
		})
	}
	slices.Reverse(out)
	return out
}

// processes are those in the groups. A zombie is only waiting for its parent.
func processes(groups []string) []int {
	var out []int
	for _, dir := range groups {
		raw, _ := os.ReadFile(dir + "/cgroup.procs")
		for _, field := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil && !zombie(pid) {
				out = append(out, pid)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out) // a process has a group in every hierarchy
}

func zombie(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(raw), ") ")
	return err != nil || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// cleanUp takes back what a script's containers left, whatever happened to it. Every name that it looks for has the
// script's own ID in it.
func cleanUp(runtime, work, id string) {
	states, _ := os.ReadDir(filepath.Join(work, "state"))
	for _, s := range states {
		exec.Command(runtime, "--root", filepath.Join(work, "state"), "delete", "--force", s.Name()).Run()
	}
	dirs := groups(id)
	for _, pid := range processes(dirs) {
		unix.Kill(pid, unix.SIGKILL)
	}
	for i := 0; i < 50 && len(processes(dirs)) > 0; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	for _, dir := range dirs {
		os.Remove(dir)
	}
	for line := range strings.Lines(mountinfo()) {
		if dir := strings.Fields(line)[4]; strings.HasPrefix(dir, work+"/") {
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	os.RemoveAll(filepath.Join(work, "state"))
}

func cmdHostMounts(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "hostmounts save|compare")
	now := hostMounts(ts.Getenv("WORK"))
	switch args[0] {
	case "save":
		ts.Setenv("HOSTMOUNTS", now)
	case "compare":
		if before := ts.Getenv("HOSTMOUNTS"); now != before {
			ts.Fatalf("mounts were\n%sand are\n%s", before, now)
		}
	default:
		usage(ts, false, "hostmounts save|compare")
	}
}

// hostMounts are the mounts of the machine that no other test has a reason to change, and those of the script.
func hostMounts(work string) string {
	var out strings.Builder
	for line := range strings.Lines(mountinfo()) {
		top, _, _ := strings.Cut(strings.TrimPrefix(strings.Fields(line)[4], "/"), "/")
		if strings.Contains(line, work+"/") || slices.Contains([]string{"", "proc", "dev", "sys", "etc", "usr"}, top) {
			out.WriteString(line)
		}
	}
	return out.String()
}
