package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// viewNames are the columns of the list: the hybrid layout as the machine has it and the two pure ones that can be made of
// it; a cgroup2 with all controllers, and the same with systemd as the manager of groups.
var viewNames = [...]string{"hybrid", "v1", "v2", "unified", "systemd"}

// layout is what a machine has mounted at /sys/fs/cgroup.
type layout struct {
	unified bool // cgroup2 at the top
	nested  bool // cgroup2 at /sys/fs/cgroup/unified beside v1 hierarchies
	systemd bool // systemd is the machine's init
}

func machineLayout() layout {
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	return layout{isCgroup2(cgroupRoot), isCgroup2(filepath.Join(cgroupRoot, "unified")), err == nil}
}

func isCgroup2(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// missing says why a view cannot be shown on this machine; empty if it can. BERTH_TEST_CGROUPS leaves out the view of the
// other manager of groups.
func missing(view string) string {
	only := os.Getenv("BERTH_TEST_CGROUPS")
	if only == "systemd" && view == "unified" || only == "cgroupfs" && view == "systemd" {
		return "[cgroup-manager] this run is for " + only
	}
	return machineLayout().missing(view)
}

func (l layout) missing(view string) string {
	switch {
	case view == "hybrid" && !l.nested:
		return "[cgroup-hybrid] no cgroup2 at /sys/fs/cgroup/unified"
	case view == "v1" && l.unified:
		return "[cgroup-v1] no v1 hierarchies"
	case view == "v2" && !l.nested:
		return "[cgroup-hybrid] no cgroup2 at /sys/fs/cgroup/unified"
	case (view == "unified" || view == "systemd") && !l.unified:
		return "[cgroup-unified] no cgroup2 with all controllers at /sys/fs/cgroup"
	case view == "systemd" && !l.systemd:
		return "[systemd] systemd is not running"
	}
	return ""
}

// show turns the mount namespace of the caller, which must be private, into a view.
func (l layout) show(view string) error {
	nested := filepath.Join(cgroupRoot, "unified")
	switch {
	case view == "v1" && l.nested:
		return unix.Unmount(nested, 0)
	case view == "v2":
		return unix.Mount(nested, cgroupRoot, "", unix.MS_BIND, "")
	}
	return nil
}

// namedGroup matches the cgroups that the programs name, uuidGroup those that runtimes name by a container's ID.
var (
	namedGroup = regexp.MustCompile(`/(cgrouptest|testdir)(/|$)`)
	uuidGroup  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// cgroupDirs returns every cgroup directory, parents first.
func cgroupDirs() []string {
	var dirs []string
	_ = filepath.WalkDir(cgroupRoot, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// sweep removes the empty cgroups that match and are not among those that were there before. It returns a line that names
// them, once each whatever the number of hierarchies, and one for each that could not be removed.
func sweep(match *regexp.Regexp, before []string) []string {
	var lines, names []string
	for _, dir := range slices.Backward(cgroupDirs()) {
		if !match.MatchString(dir) || slices.Contains(before, dir) {
			continue
		}
		if err := os.Remove(dir); err != nil {
			lines = append(lines, err.Error())
		}
		if name := dir[match.FindStringIndex(dir)[0]:]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		lines = append(lines, "cgroups "+strings.Join(names, " "))
	}
	return lines
}
