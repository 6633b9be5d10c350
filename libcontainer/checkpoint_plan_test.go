package libcontainer

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/criu"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/rootfs"
)

// lines is what of a request the plans of this package decide.
func lines(r criu.Request) string {
	var out []string
	for _, l := range r.Lines() {
		if strings.HasPrefix(l, "external") || strings.HasPrefix(l, "inherit") || strings.HasPrefix(l, "join") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestPlanDump(t *testing.T) {
	facts := dumpFacts{
		PID: 9, Root: "/r",
		External: []rootfs.External{
			{Target: "/vol", Source: "/src"},
			{Target: "/ro", Source: "/file", Readonly: true},
			{Target: "/gone", Source: "/x"},
			{Target: "/proc/kcore", Source: "/dev/null", Mask: true},
			{Target: "/proc/acpi", Source: "/dev/null", Mask: true},
			{Target: "/proc/missing", Source: "/dev/null", Mask: true},
		},
		Mounts: []host.Mount{
			{ID: "1", Point: "/"}, {ID: "2", Point: "/vol", Dev: "8:1", Root: "/src"}, {ID: "3", Point: "/vol/sub", Dev: "0:9", Root: "/"},
			{ID: "4", Point: "/vol/own", Dev: "0:10", Root: "/"}, {ID: "5", Point: "/ro", Readonly: true},
			{ID: "6", Point: "/proc/kcore", Root: "/null"}, {ID: "7", Point: "/proc/acpi", Root: "/"},
		},
		HostMounts: []host.Mount{{Point: "/"}, {Point: "/src/sub", Dev: "0:9", Root: "/"}, {Point: "/src/own", Dev: "0:11", Root: "/"}},
		Joined:     []criu.Namespace{{Kind: "net", Inode: 77}},
		Stdio:      []string{"", "pipe:[5]", "2049:18"},
		Links:      [3]string{"/dev/null", "pipe:[6]", "/log"},
		Files:      []outsideFile{{26, 2049, 18, 0}, {26, 2049, 18, 0}, {26, 2049, 19, 0}, {26, 22, 3, 0x8800}},
	}
	p, err := planDump(criu.Dump{}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := `external net[77]:extRootNetNS
external mnt[/vol]:0
external mnt[/vol/sub]:1
external mnt[/ro]:2
external mnt[/proc/kcore]:null
external file[1a:12]
external file[1a:13]
external tty[8800:16]`
	if got := lines(p.Request(3, -1)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if want := []external{{"/vol", false}, {"/vol/sub", false}, {"/ro", true}}; !reflect.DeepEqual(p.table, want) {
		t.Error(p.table)
	}
	if want := []string{"/dev/null", "pipe:[5]", "file[1a:12]"}; !reflect.DeepEqual(p.descriptors, want) {
		t.Error(p.descriptors)
	}
}

// What the container has made of its mounts is refused where a restore would
// give it more than its config does.
func TestPlanDumpRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		facts dumpFacts
		want  string
	}{
		"key": {dumpFacts{
			External: []rootfs.External{{Target: "/a]:0", Field: "/mounts/1"}},
			Mounts:   []host.Mount{{Point: "/a]:0"}},
		}, `CRIU cannot have "]:" in the path of a mount from outside (config.json /mounts/1)`},
		"link": {dumpFacts{
			External: []rootfs.External{{Target: "/a/b", Field: "/mounts/1"}},
			Mounts:   []host.Mount{{Point: "/c/b"}}, Places: map[string]string{"/a/b": "/c/b"},
		}, "a symbolic link leads to /c/b"},
		"writable": {dumpFacts{
			External: []rootfs.External{{Target: "/a", Readonly: true, Field: "/mounts/1"}},
			Mounts:   []host.Mount{{Point: "/a"}},
		}, "was made writable by the container"},
	} {
		if _, err := planDump(criu.Dump{}, c.facts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// A pre-dump looks at memory only.
		if _, err := planDump(criu.Dump{PreDump: true}, c.facts); err != nil {
			t.Errorf("%s, pre-dump: %v", name, err)
		}
	}
}

func restorePlan(t *testing.T, mounts ...specs.Mount) *Plan {
	t.Helper()
	spec := &specs.Spec{Root: &specs.Root{Path: "/r"}, Mounts: mounts, Linux: &specs.Linux{
		Namespaces: []specs.LinuxNamespace{
			{Type: "mount"}, {Type: "network", Path: "/n"}, {Type: "uts", Path: "/u"}, {Type: "pid", Path: "/p"}, {Type: "ipc"},
		},
	}}
	facts := host.Facts{Kernel: host.Version{Major: 6, Minor: 1}, Namespaces: []string{"mnt", "net", "uts", "pid", "ipc"}}
	p := &Plan{}
	p.Namespaces, _ = planNamespaces(spec, facts)
	p.Rootfs, _ = rootfs.NewPlan(spec, facts, rootfs.Options{MountNS: true})
	return p
}

func TestPlanRestore(t *testing.T) {
	bind := func(destination, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: destination, Source: source, Type: "bind", Options: append(options, "rbind")}
	}
	plan := restorePlan(t, bind("/other", "/o"), bind("/vol", "/new"), bind("/ro", "/f", "ro"))
	mounts := []host.Mount{{Point: "/new/sub"}}
	for name, c := range map[string]struct {
		table       []external
		descriptors []string
		want        string // of the request, or of the error
	}{
		"all": {
			[]external{{"/vol", false}, {"/vol/sub", false}, {"/ro", true}}, []string{"/dev/null", "pipe:[5]", "file[1a:12]", "pipe:[7]"},
			`join_ns.ns uts
join_ns.ns_file /u
external mnt[0]:/new
external mnt[1]:/new/sub
external mnt[2]:/f
external mnt[null]:/dev/null
inherit_fd.key pipe:[5]
inherit_fd.fd 1
inherit_fd.key file[1a:12]
inherit_fd.fd 2
inherit_fd.key extRootNetNS
inherit_fd.fd 4
inherit_fd.key extRootPidNS
inherit_fd.fd 5`,
		},
		"missing":    {[]external{{"/volume", false}}, nil, "restore /volume: something of the host's was mounted here"},
		"above":      {[]external{{"/vol/../new/sub", false}}, nil, "restore /vol/../new/sub: something of the host's"},
		"not theirs": {[]external{{"/vol/link", false}}, nil, "restore /vol/link: something of the host's"},
		"writable":   {[]external{{"/ro", false}}, nil, "restore /ro: was writable at checkpoint"},
	} {
		r, err := planRestore(criu.Restore{}, plan, c.table, c.descriptors, mounts)
		if err != nil {
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := lines(r.Request(3, -1)); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestParseCgRoots(t *testing.T) {
	got := parseCgRoots("12:cpu,cpuacct:/a:b\n1:name=systemd:/c\n0::/d\n")
	if want := []criu.CgRoot{{Controller: "cpu,cpuacct", Path: "/a:b"}, {Controller: "name=systemd", Path: "/c"}, {Path: "/d"}}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

func TestStdioNames(t *testing.T) {
	process := &specs.Process{}
	given := [3]host.Stdio{{Mode: 0o020666, Ino: 1}, {Mode: 0o010600, Ino: 5}, {Mode: 0o100600, Dev: 2, Ino: 6}}
	if got := stdioNames(process, given); !reflect.DeepEqual(got, []string{"", "pipe:[5]", "2:6"}) {
		t.Error(got)
	}
	if got := stdioNames(&specs.Process{Terminal: true}, given); got != nil {
		t.Error(got)
	}
	if got := stdioNames(process, [3]host.Stdio{}); got != nil {
		t.Error(got)
	}
}

// A configuration of CRIU's can name programs: only what the container cannot
// have written is used.
func TestCriuConfig(t *testing.T) {
	dir := t.TempDir()
	c := &Container{record: record{Rootfs: dir + "/rootfs"}}
	if err := os.Mkdir(dir+"/rootfs", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"mine": 0o600, "theirs": 0o666, "rootfs/inside": 0o600} {
		if err := errors.Join(os.WriteFile(dir+"/"+name, nil, mode), os.Chmod(dir+"/"+name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"":                      "",
		dir + "/mine":           "",
		dir + "/missing":        "",
		dir + "/theirs":         "others may write to it",
		dir + "/rootfs/inside":  "in the container's root file system",
		dir + "/rootfs/../mine": "",
	} {
		got, err := c.criuConfig(map[string]string{criuAnnotation: path})
		if want == "" && (err != nil || got != path) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %q, %v", path, got, err)
		}
		var e *fault.Error
		if errors.As(err, &e) && e.Field != "/annotations/org.criu.config" {
			t.Errorf("%q: the error is about %q", path, e.Field)
		}
	}
	t.Chdir(dir)
	if _, err := c.criuConfig(map[string]string{criuAnnotation: "mine"}); err == nil {
		t.Error("a relative path is taken")
	}
}

func TestCanCRIU(t *testing.T) {
	root := host.Facts{Caps: ^uint64(0)}
	for _, c := range []struct {
		n     Namespaces
		facts host.Facts
		want  string
	}{
		{Namespaces{New: []string{"mnt", "user", "time"}, Join: []Join{{Kind: "net"}, {Kind: "pid"}, {Kind: "ipc"}, {Kind: "uts"}}}, root, ""},
		{Namespaces{New: []string{"mnt"}, Join: []Join{{"user", "/u", "/linux/namespaces/3"}}}, root, "cannot join a user namespace"},
		{Namespaces{Join: []Join{{Kind: "mnt"}}}, root, "cannot join a mnt namespace"},
		{Namespaces{}, root, "needs the container to have a mount namespace"},
		{Namespaces{New: []string{"mnt"}}, host.Facts{EUID: 1000}, "needs root's rights"},
	} {
		err := c.n.canCRIU("checkpoint", c.facts)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c.n, err)
		}
	}
}
