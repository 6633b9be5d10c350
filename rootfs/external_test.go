package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

func externalPlan(mounts ...specs.Mount) *Plan {
	spec := &specs.Spec{
		Root: &specs.Root{Path: "/r"}, Mounts: mounts,
		Linux: &specs.Linux{MaskedPaths: []string{"/proc/kcore"}},
	}
	facts := host.Facts{Kernel: host.Version{Major: 6, Minor: 1}, UserNS: true}
	p, _ := NewPlan(spec, facts, Options{Bundle: "/b", MountNS: true, Cgroup: []CgroupMount{
		{Name: "cpu,cpuacct", Dir: "/sys/fs/cgroup/cpu/c", Controllers: []string{"cpu"}},
		{Name: "unified", Dir: "/sys/fs/cgroup/unified/c", V2: true},
	}})
	return p
}

var externalMounts = []specs.Mount{
	{Destination: "/proc", Type: "proc", Source: "proc"},
	{Destination: "/vol/", Source: "rel", Options: []string{"rbind", "ro"}},
	{Destination: "/vol/file", Source: "/f", Options: []string{"bind", "rro"}},
	{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
	{Destination: "/tmp/in", Source: "/x", Options: []string{"bind"}},
	{Destination: "/tmp/in/deeper", Type: "tmpfs", Source: "tmpfs"},
	{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"},
}

func TestExternal(t *testing.T) {
	var got []string
	for _, x := range externalPlan(externalMounts...).External() {
		if strings.HasPrefix(x.Target, "/dev/") {
			continue
		}
		got = append(got, fmt.Sprintf("%s from %s ro=%v mask=%v %s", x.Target, x.Source, x.Readonly, x.Mask, x.Field))
	}
	want := []string{
		"/vol from /b/rel ro=true mask=false /mounts/1",
		"/vol/file from /f ro=true mask=false /mounts/2",
		"/tmp/in from /x ro=false mask=false /mounts/4",
		"/sys/fs/cgroup/cpu,cpuacct from /sys/fs/cgroup/cpu/c ro=false mask=false /mounts/6",
		"/sys/fs/cgroup/unified from /sys/fs/cgroup/unified/c ro=false mask=false /mounts/6",
		"/proc/kcore from /dev/null ro=false mask=true /linux/maskedPaths/0",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMountPoints(t *testing.T) {
	var got []string
	for _, m := range externalPlan(externalMounts...).MountPoints() {
		got = append(got, m.Dir+" "+m.Path+" "+m.Source)
	}
	want := []string{"/r proc ", "/r vol /b/rel", "/b/rel file /f", "/r tmp ", "/x deeper ", "/r sys/fs/cgroup "}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nothing is made where a link leads (CVE-2026-119101).
func TestMakeMountPoint(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir+"/root", 0o755))
	must(os.WriteFile(dir+"/file", nil, 0o644))
	must(os.Symlink(dir, dir+"/root/link"))
	must(os.Symlink(dir+"/canary", dir+"/root/dangling"))
	for path, source := range map[string]string{"a/b]: c": dir, "a/f": dir + "/file", "fresh": ""} {
		for range 2 { // it may be there already
			must(MountPoint{Dir: dir + "/root", Path: path, Source: source}.Make())
		}
		st, err := os.Lstat(filepath.Join(dir, "root", path))
		if err != nil || st.IsDir() == (source == dir+"/file") {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	for _, path := range []string{"link", "link/x", "dangling", "../canary"} {
		err := MountPoint{Dir: dir + "/root", Path: path}.Make()
		if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.EXDEV) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, name := range []string{"canary", "x"} {
		if _, err := os.Lstat(dir + "/" + name); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}
