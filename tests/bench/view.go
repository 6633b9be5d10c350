package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// A view is what a runtime sees at /sys/fs/cgroup: "v1", hierarchies of version 1 only, or "v2", one cgroup2.
type view struct {
	name        string
	hierarchies []string // v1: directories below /sys/fs/cgroup
}

// groups is the view in the floor's words.
func (v view) groups() string {
	return strings.Join(append([]string{v.name}, v.hierarchies...), ":")
}

// groupDirs lists where a cgroup of the given name, one path component, would be.
func (v view) groupDirs(name string) []string {
	if v.name == "v2" {
		return []string{path.Join(cgroupRoot, name)}
	}
	var dirs []string
	for _, h := range v.hierarchies {
		dirs = append(dirs, path.Join(cgroupRoot, h, name))
	}
	return dirs
}

// A cgroupMount is a mounted hierarchy: where, and "cgroup" or "cgroup2".
type cgroupMount struct{ target, kind string }

// cgroupMounts reads the cgroup mounts from a mountinfo file (proc_pid_mountinfo(5)).
func cgroupMounts(mountinfo io.Reader) []cgroupMount {
	var found []cgroupMount
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) > 4 && len(kind) > 0 && (kind[0] == "cgroup" || kind[0] == "cgroup2") {
			found = append(found, cgroupMount{fields[4], kind[0]})
		}
	}
	return found
}

// unified returns where cgroup2 is mounted, or "".
func unified(mounts []cgroupMount) string {
	for _, m := range mounts {
		if m.kind == "cgroup2" {
			return m.target
		}
	}
	return ""
}

// hierarchiesV1 returns the names of the v1 hierarchies directly below /sys/fs/cgroup, sorted.
func hierarchiesV1(mounts []cgroupMount) []string {
	var names []string
	for _, m := range mounts {
		if m.kind == "cgroup" && path.Dir(m.target) == cgroupRoot {
			names = append(names, path.Base(m.target))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// viewsHere names the views that a machine with these mounts can show.
func viewsHere(mounts []cgroupMount) []string {
	var names []string
	if len(hierarchiesV1(mounts)) > 0 {
		names = append(names, "v1")
	}
	if unified(mounts) != "" {
		names = append(names, "v2")
	}
	return names
}

func readCgroupMounts() ([]cgroupMount, error) {
	info, err := os.ReadFile("/proc/thread-self/mountinfo")
	return cgroupMounts(bytes.NewReader(info)), err
}

// enterView makes this process's mount namespace, which has to be its own, show the view called name.
// Nothing outside the namespace changes.
func enterView(name string) (view, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return view{}, fmt.Errorf("make mounts private: %w", err)
	}
	mounts, err := readCgroupMounts()
	if err != nil {
		return view{}, err
	}
	switch u := unified(mounts); {
	case name == "v1" && u != "":
		err = unix.Unmount(u, unix.MNT_DETACH)
	case name == "v2" && u != cgroupRoot:
		err = unix.Mount(u, cgroupRoot, "", unix.MS_BIND, "")
	}
	if err != nil {
		return view{}, fmt.Errorf("show the %s view: %w", name, err)
	}
	if name == "v2" {
		return view{name: name}, nil
	}
	return view{name: name, hierarchies: hierarchiesV1(mounts)}, nil
}
