package rootfs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

var privileged = host.Facts{Kernel: host.Version{Major: 6, Minor: 18}, Caps: ^uint64(0)}

func onKernel(major, minor int) host.Facts {
	f := privileged
	f.Kernel = host.Version{Major: major, Minor: minor}
	return f
}

var unprivileged = host.Facts{Kernel: host.Version{Major: 6, Minor: 18}, EUID: 1000}

// planned plans the JSON of a spec, to which the root is added.
func planned(t *testing.T, config string, facts host.Facts, opt Options) (*Plan, fault.List) {
	t.Helper()
	spec := specs.Spec{Root: &specs.Root{Path: "rootfs"}}
	if err := json.Unmarshal([]byte(config), &spec); err != nil {
		t.Fatalf("%v in %s", err, config)
	}
	if opt.Bundle == "" {
		opt.Bundle = "/bundle"
	}
	return NewPlan(&spec, facts, opt)
}

// lines is a plan's lines without the default devices and links.
func lines(p *Plan) []string {
	return slices.DeleteFunc(p.Lines(), func(s string) bool {
		return !strings.Contains(s, "#") && (strings.HasPrefix(s, "mknod ") || strings.HasPrefix(s, "link ") || strings.HasPrefix(s, "bind /dev/"))
	})
}

func mounts(list ...string) string { return `{"mounts": [` + strings.Join(list, ",") + `]}` }

// TestPlanMounts has one entry of /mounts each: JSON in, lines out.
//
//spec:6,7,8,15,19
func TestPlanMounts(t *testing.T) {
	for _, c := range []struct{ entry, want string }{
		{`{"destination": "/proc", "type": "proc", "source": "proc"}`, "mount proc on /proc"},
		{`{"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]}`, "mount proc on /proc -o nosuid,nodev,noexec"},
		{`{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]}`, "mount -t tmpfs shm on /dev/shm -o mode=1777"},
		{`{"destination": "rel/a/tive", "type": "tmpfs"}`, "mount tmpfs on /rel/a/tive"},
		{`{"destination": "/a/../b//c/.", "type": "tmpfs"}`, "mount tmpfs on /b/c"},
		{`{"destination": "../../x", "type": "tmpfs"}`, "mount tmpfs on /x"},
		{`{"destination": "/x", "type": "tmpfs", "options": ["size=1m,mode=700"]}`, "mount tmpfs on /x -o size=1m,mode=700"},
		{`{"destination": "/x", "type": "tmpfs", "options": ["rro", "rnoexec"]}`, "mount tmpfs on /x -o ro,noexec\nremount /x -o ro"},
		{`{"destination": "/x", "type": "ext4", "source": "/dev/sda1", "options": ["ro", "data=ordered"]}`, "mount -t ext4 /dev/sda1 on /x -o ro,data=ordered"},
		{`{"destination": "/x", "source": "/data", "options": ["bind"]}`, "bind /data on /x"},
		{`{"destination": "/x", "source": "/data", "options": ["rbind", "ro", "rslave"]}`, "rbind /data on /x -o ro,rslave"},
		{`{"destination": "/x", "source": "data/y", "options": ["bind"]}`, "bind /bundle/data/y on /x"},
		{`{"destination": "/x", "source": "../z", "options": ["bind"]}`, "bind /z on /x"},
		{`{"destination": "/x", "source": "/data", "type": "bind"}`, "bind /data on /x"},
		{`{"destination": "/x", "source": "/data", "type": "rbind", "options": ["ro"]}`, "rbind /data on /x -o ro"},
		{`{"destination": "/x", "source": "/data", "type": "none", "options": ["rbind"]}`, "rbind /data on /x"},
		{`{"destination": "/x", "options": ["remount", "ro"], "type": "tmpfs"}`, "remount /x -o ro"},
		{`{"destination": "/proc", "source": "/proc", "options": ["rbind"]}`, "rbind /proc on /proc"},
		{`{"destination": "/proc/meminfo", "source": "/lxcfs/meminfo", "options": ["bind"]}`, "bind /lxcfs/meminfo on /proc/meminfo"},
		{`{"destination": "/procfs/x", "type": "tmpfs"}`, "mount tmpfs on /procfs/x"},
		{`{"destination": "/x", "source": "/d", "options": ["bind", "idmap"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`, "bind /d on /x -o idmap"},
		{`{"destination": "/x", "source": "/d", "options": ["bind"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`, "bind /d on /x"},
		{`{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}`, "mount tmpfs on /x -o tmpcopyup"},
		{`{"destination": "/x", "source": "/d", "options": ["bind", "dest-nofollow", "copy-symlink", "ro", "src-nofollow"]}`,
			"bind /d on /x -o ro,copy-symlink,src-nofollow,dest-nofollow"},
		{`{"destination": "/x", "type": "cgroup"}`, "mount cgroup2 on /x"},
		{`{"destination": "/x", "type": "cgroup2", "options": ["ro"]}`, "mount cgroup2 on /x -o ro"},
	} {
		p, bad := planned(t, mounts(c.entry), privileged, allNew)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.entry, bad)
			continue
		}
		want := strings.ReplaceAll(c.want, "\n", "   # /mounts/0\n") + "   # /mounts/0"
		got := lines(p)
		if got := strings.Join(got[1:len(got)-1], "\n"); got != want {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", c.entry, got, want)
		}
	}
}

// TestPlanComplaints has one mistake each: JSON in, the whole message out.
//
//spec:7,15,19
func TestPlanComplaints(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		config string
		facts  host.Facts
		opt    Options
		want   string
	}{
		{mounts(`{"type": "tmpfs"}`), privileged, allNew, "mount: a destination is required (config.json /mounts/0/destination)"},
		{mounts(`{"destination": "/", "type": "tmpfs"}`), privileged, allNew,
			"mount /: a mount on / would hide the root file system (config.json /mounts/0/destination); set /root/path to it; only an overlay may be the root, as the first mount"},
		{mounts(`{"destination": "/a/..", "type": "tmpfs"}`), privileged, allNew,
			"mount /: a mount on / would hide the root file system (config.json /mounts/0/destination); set /root/path to it; only an overlay may be the root, as the first mount"},
		{mounts(`{"destination": "/x\u0000y", "type": "tmpfs"}`), privileged, allNew, "mount /x?y: a zero byte cannot be part of it (config.json /mounts/0/destination)"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["a", "size=1\u0000"]}`), privileged, allNew, "mount size=1?: a zero byte cannot be part of it (config.json /mounts/0/options/1)"},
		{`{"linux": {"maskedPaths": ["/a", "/b\u0000"]}}`, privileged, allNew, "mask /b?: a zero byte cannot be part of it (config.json /linux/maskedPaths/1)"},
		{`{"linux": {"readonlyPaths": ["\u0000"]}}`, privileged, allNew, "readonly ?: a zero byte cannot be part of it (config.json /linux/readonlyPaths/0)"},
		{`{"process": {"cwd": "/\u0000"}}`, privileged, allNew, "mkdir /?: a zero byte cannot be part of it (config.json /process/cwd)"},
		{`{"root": {"path": "\u0000"}}`, privileged, allNew, "root ?: a zero byte cannot be part of it (config.json /root/path)"},
		{`{"linux": {"devices": [{"path": "/\u0000", "type": "p"}]}}`, privileged, allNew, "mknod /?: a zero byte cannot be part of it (config.json /linux/devices/0/path)"},
		{mounts(`{"destination": "/x"}`), privileged, allNew,
			`mount /x: neither a file system type nor bind (config.json /mounts/0); add the option "bind" or a type`},
		{mounts(`{"destination": "/x", "options": ["bind"]}`), privileged, allNew, "bind /x: a bind mount needs a source (config.json /mounts/0/source)"},
		{mounts(`{"destination": "/proc", "type": "tmpfs"}`), privileged, allNew,
			"mount /proc: only a file system of type proc may be mounted here (config.json /mounts/0)"},
		{mounts(`{"destination": "/proc/scsi", "type": "tmpfs"}`), privileged, allNew,
			"mount /proc/scsi: a mount inside /proc is not allowed (config.json /mounts/0/destination); only the files that lxcfs provides may be replaced, such as /proc/meminfo"},
		{mounts(`{"destination": "proc/self/attr", "source": "/x", "options": ["bind"]}`), privileged, allNew,
			"mount /proc/self/attr: a mount inside /proc is not allowed (config.json /mounts/0/destination); only the files that lxcfs provides may be replaced, such as /proc/meminfo"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["ro", "src-nofollow"]}`), privileged, allNew,
			"mount /x: src-nofollow is for a bind mount (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["remount", "bind", "dest-nofollow"]}`), privileged, allNew,
			"mount /x: dest-nofollow is for a bind mount (config.json /mounts/0/options/2)"},
		{mounts(`{"destination": "/sys", "source": "/y", "options": ["bind", "copy-symlink"]}`), privileged, allNew,
			"bind /sys: /sys must be a directory, not a symbolic link (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "type": "ext4", "options": ["tmpcopyup"]}`), privileged, allNew,
			"tmpcopyup /x: tmpcopyup is for a tmpfs, not for ext4 (config.json /mounts/0/options/0)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["bind", "tmpcopyup"]}`), privileged, allNew,
			"bind /x: tmpcopyup is for a tmpfs (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup", "` + long + `"]}`), privileged, allNew,
			"tmpcopyup /x: an option is too long for a tmpfs with tmpcopyup (config.json /mounts/0/options)"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}`), unprivileged, Options{MountNS: true, UserNS: true},
			"tmpcopyup /x: tmpcopyup needs CAP_SYS_ADMIN on the host (config.json /mounts/0/options/0); leave tmpcopyup out, or run as root"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}`), privileged, allNew,
			"idmap /x: there is no mapping for it (config.json /mounts/0/options/0); give the mount uidMappings and gidMappings, or the container a user namespace"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup", "idmap=uids=0-1-1;gids=0-1-1"]}`), privileged, allNew,
			"tmpcopyup /x: tmpcopyup copies owners, and an id-mapped mount changes them (config.json /mounts/0/options/0); leave one of them out"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["idmap=uids=0-1-1;gids=0-1-1", "silent"]}`), privileged, allNew,
			"idmap /x: an option is too long, or only for mount(2), which makes no id-mapped mount (config.json /mounts/0/options)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}`), privileged, allNew,
			"idmap /x: there is no mapping for it (config.json /mounts/0/options/1); give the mount uidMappings and gidMappings, or the container a user namespace"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["bind", "idmap"], "uidMappings": [{"size": 1}]}`), privileged, allNew,
			"idmap /x: uidMappings and gidMappings belong together (config.json /mounts/0)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}`), onKernel(5, 11), allNew,
			"mount /x: an id-mapped mount needs Linux 5.12 (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["bind"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`), onKernel(5, 11), allNew,
			"idmap /x: an id-mapped mount needs Linux 5.12 (config.json /mounts/0/uidMappings)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["rbind", "ridmap"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`),
			unprivileged, Options{MountNS: true, UserNS: true},
			"idmap /x: an id-mapped mount needs CAP_SYS_ADMIN on the host (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["nosuid", "rbind", "rro"]}`), onKernel(5, 11), allNew,
			"mount /x: recursive mount attributes need Linux 5.12 (config.json /mounts/0/options/2)"},
		{mounts(`{"destination": "/x", "source": "/y", "options": ["rbind", "rnosymfollow"]}`), onKernel(5, 13), allNew,
			"mount /x: recursive mount attributes need Linux 5.14 (config.json /mounts/0/options/1)"},
		{mounts(`{"destination": "/x", "type": "tmpfs", "options": ["` + strings.Repeat(long, 14) + `"]}`), privileged, allNew,
			"mount /x: the options are longer than 4095 bytes (config.json /mounts/0/options)"},
		{`{"linux": {"rootfsPropagation": "sharde"}}`, privileged, allNew,
			"propagation: unknown propagation sharde (config.json /linux/rootfsPropagation); use shared, slave, private or unbindable, or one of them with r in front"},
		{`{"linux": {"rootfsPropagation": "ro"}}`, privileged, allNew,
			"propagation: unknown propagation ro (config.json /linux/rootfsPropagation); use shared, slave, private or unbindable, or one of them with r in front"},
		{`{"linux": {"devices": [{"path": "/dev/x", "type": "z"}]}}`, privileged, allNew,
			"mknod /dev/x: unknown type z (config.json /linux/devices/0/type); use c, b, u or p"},
		{`{"linux": {"devices": [{"path": "", "type": "p"}]}}`, privileged, allNew, "mknod: a path is required (config.json /linux/devices/0/path)"},
		{`{"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": 4096, "minor": 1}]}}`, privileged, allNew,
			"mknod /dev/x: the device number is out of range (config.json /linux/devices/0)"},
		{`{"linux": {"devices": [{"path": "/dev/x", "type": "b", "major": 1, "minor": -1}]}}`, privileged, allNew,
			"mknod /dev/x: the device number is out of range (config.json /linux/devices/0)"},
		{mounts(`{"destination": "/proc", "type": "proc"}`), privileged, Options{MountNS: true, UserNS: true},
			`mount /proc: in a user namespace proc needs a pid namespace of the container's own (config.json /mounts/0); add {"type": "pid"} to /linux/namespaces, or bind the host's /proc with rbind`},
		{mounts(`{"destination": "/sys", "type": "sysfs"}`), privileged, Options{MountNS: true, UserNS: true},
			`mount /sys: in a user namespace sysfs needs a network namespace of the container's own (config.json /mounts/0); add {"type": "network"} to /linux/namespaces, or bind the host's /sys with rbind and ro`},
		{`{}`, unprivileged, Options{UserNS: true},
			`mount /bundle/rootfs: mounting without a mount namespace needs CAP_SYS_ADMIN on the host (config.json /linux/namespaces); add {"type": "mount"} to /linux/namespaces`},
		{`{}`, privileged, Options{UserNS: true},
			`mount /bundle/rootfs: mounting without a mount namespace needs CAP_SYS_ADMIN on the host (config.json /linux/namespaces); add {"type": "mount"} to /linux/namespaces`},
	} {
		_, bad := planned(t, c.config, c.facts, c.opt)
		if len(bad) != 1 || bad[0].Error() != c.want || bad[0].Phase != fault.PhasePlan {
			t.Errorf("%s:\ngot:  %v\nwant: %s", c.config, bad, c.want)
		}
	}
}

// TestPlanAllComplaints finds every mistake at once.
func TestPlanAllComplaints(t *testing.T) {
	_, bad := planned(t, `{"root": {"path": "a\u0000"},
		"mounts": [{"destination": "/"}, {"destination": "/ok", "type": "tmpfs"}, {"destination": "/x", "options": ["bind"]}],
		"linux": {"rootfsPropagation": "?", "devices": [{"type": "?"}, {"type": "p"}]}}`, privileged, allNew)
	var got []string
	for _, e := range bad {
		got = append(got, string(e.Field))
	}
	want := "/root/path /linux/rootfsPropagation /mounts/0/destination /mounts/2/source /linux/devices/0/type /linux/devices/1/path"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestPlanDefault(t *testing.T) {
	p, bad := planned(t, defaultConfig, privileged, allNew)
	if bad.Err() != nil {
		t.Fatal(bad)
	}
	const want = `root /bundle/rootfs   # /root/path
mount proc on /proc   # /mounts/0
mount tmpfs on /dev -o nosuid,strictatime,mode=755,size=65536k   # /mounts/1
mount devpts on /dev/pts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5   # /mounts/2
mount -t tmpfs shm on /dev/shm -o nosuid,nodev,noexec,mode=1777,size=65536k   # /mounts/3
mount mqueue on /dev/mqueue -o nosuid,nodev,noexec   # /mounts/4
mount sysfs on /sys -o ro,nosuid,nodev,noexec   # /mounts/5
mknod /dev/null c 1:3 0666
mknod /dev/zero c 1:5 0666
mknod /dev/full c 1:7 0666
mknod /dev/random c 1:8 0666
mknod /dev/urandom c 1:9 0666
mknod /dev/tty c 5:0 0666
link /dev/fd -> /proc/self/fd
link /dev/stdin -> /proc/self/fd/0
link /dev/stdout -> /proc/self/fd/1
link /dev/stderr -> /proc/self/fd/2
link /dev/core -> /proc/kcore
link /dev/ptmx -> pts/ptmx
mkdir -p /work/deep   # /process/cwd
readonly /proc/bus   # /linux/readonlyPaths/0
readonly /proc/fs   # /linux/readonlyPaths/1
readonly /proc/irq   # /linux/readonlyPaths/2
readonly /proc/sys   # /linux/readonlyPaths/3
readonly /proc/sysrq-trigger   # /linux/readonlyPaths/4
mask /proc/acpi   # /linux/maskedPaths/0
mask /proc/asound   # /linux/maskedPaths/1
mask /proc/kcore   # /linux/maskedPaths/2
mask /proc/keys   # /linux/maskedPaths/3
mask /proc/latency_stats   # /linux/maskedPaths/4
mask /proc/timer_list   # /linux/maskedPaths/5
mask /proc/timer_stats   # /linux/maskedPaths/6
mask /proc/sched_debug   # /linux/maskedPaths/7
mask /sys/firmware   # /linux/maskedPaths/8
mask /proc/scsi   # /linux/maskedPaths/9
pivot_root   # /root/path
root read-only   # /root/readonly
`
	if got := p.String(); got != want {
		t.Errorf("got:\n%s", got)
	}
}

// TestPlanWhole is whole plans without the default devices: where order and
// surroundings matter.
func TestPlanWhole(t *testing.T) {
	user := allNew
	user.UserNS = true
	console := allNew
	console.Console = true
	group := allNew
	group.Cgroup = []CgroupMount{{Dir: "/cg/c1", V2: true}}
	shared := allNew
	shared.Cgroup = []CgroupMount{{Dir: "/cg/session", V2: true, Shared: true}}
	sharedNS := shared
	sharedNS.CgroupNS = true
	groupNS := group
	groupNS.CgroupNS = true
	v1 := allNew
	v1.Cgroup = []CgroupMount{{Name: "cpu,cpuacct", Dir: "/cg/cpu"}, {Name: "unified", Dir: "/cg/unified", V2: true}}
	extra := allNew
	extra.Extra = []ExtraMount{{specs.Mount{Destination: "/run/notify", Source: "/run/x", Options: []string{"bind"}}, "/process/env/2"}}
	noPivot := allNew
	noPivot.NoPivot = true
	for _, c := range []struct {
		name, config string
		facts        host.Facts
		opt          Options
		want         string
	}{
		{"a group that is not the container's own", mounts(`{"destination": "/c", "type": "cgroup", "source": "cgroup"}`), privileged, shared,
			"bind /cg/session on /c -o ro   # /mounts/0\npivot_root   # /root/path"},
		{"nor in a cgroup namespace", mounts(`{"destination": "/c", "type": "cgroup", "source": "cgroup", "options": ["rw"]}`), privileged, sharedNS,
			"mount -t cgroup2 cgroup on /c -o ro   # /mounts/0\npivot_root   # /root/path"},
		{"nothing", `{}`, privileged, allNew, "pivot_root   # /root/path"},
		{"no pivot", `{}`, privileged, noPivot, "move   # /root/path"},
		{"no mount namespace", `{}`, privileged, Options{}, "chroot   # /root/path"},
		{"shared", `{"linux": {"rootfsPropagation": "rshared"}}`, privileged, allNew, "pivot_root -o rshared   # /root/path"},
		{"devices", `{"linux": {"devices": [
			{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 384, "uid": 7, "gid": 8},
			{"path": "/dev/u", "type": "u", "major": 9, "minor": 1}, {"path": "p/ipe", "type": "p"}, {"path": "/dev/b", "type": "b", "major": 8}]}}`,
			privileged, allNew,
			"mknod /dev/null c 1:3 0600 7:8   # /linux/devices/0\nmknod /dev/u c 9:1 0666   # /linux/devices/1\n" +
				"mknod /p/ipe p 0666   # /linux/devices/2\nmknod /dev/b b 8:0 0666   # /linux/devices/3\npivot_root   # /root/path"},
		{"devices in a user namespace", `{"linux": {"devices": [
			{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}, {"path": "/dev/p", "type": "p"}]}}`, privileged, user,
			"bind /dev/fuse on /dev/fuse (c 10:229)   # /linux/devices/0\nmknod /dev/p p 0666   # /linux/devices/1\npivot_root   # /root/path"},
		{"/dev is the host's", mounts(`{"destination": "/dev", "source": "/dev", "options": ["rbind"]}`), privileged, console,
			"rbind /dev on /dev   # /mounts/0\nconsole /dev/console   # /process/terminal\npivot_root   # /root/path"},
		{"console", `{"process": {"terminal": true, "cwd": "/"}}`, privileged, console,
			"console /dev/console   # /process/terminal\npivot_root   # /root/path"},
		{"a read-only tmpfs is sealed last", `{"process": {"cwd": "/a/b"}, "mounts": [
			{"destination": "/a", "type": "tmpfs", "options": ["ro"]}, {"destination": "/a/b", "type": "tmpfs"}]}`, privileged, allNew,
			"mount tmpfs on /a -o ro   # /mounts/0\nmount tmpfs on /a/b   # /mounts/1\nmkdir -p /a/b   # /process/cwd\nremount /a -o ro   # /mounts/0\npivot_root   # /root/path"},
		{"masks come after the mounts", `{"linux": {"maskedPaths": ["a", "/b/../c"], "readonlyPaths": ["/r"]},
			"mounts": [{"destination": "/x", "type": "tmpfs"}], "root": {"path": "/abs/", "readonly": true}}`, privileged, allNew,
			"mount tmpfs on /x   # /mounts/0\nreadonly /r   # /linux/readonlyPaths/0\nmask /a   # /linux/maskedPaths/0\n" +
				"mask /c   # /linux/maskedPaths/1\npivot_root   # /root/path\nroot read-only   # /root/readonly"},
		{"own group, bound", mounts(`{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nsdelegate"]}`), privileged, group,
			"bind /cg/c1 on /sys/fs/cgroup -o ro   # /mounts/0\npivot_root   # /root/path"},
		{"own group, in a namespace", mounts(`{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}`), privileged, groupNS,
			"mount -t cgroup2 cgroup on /sys/fs/cgroup -o ro   # /mounts/0\npivot_root   # /root/path"},
		{"hierarchies", mounts(`{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}`), privileged, v1,
			"mount cgroup on /sys/fs/cgroup -o ro (cpu,cpuacct unified)   # /mounts/0\npivot_root   # /root/path"},
		{"a mount of the runtime's own", `{}`, privileged, extra, "bind /run/x on /run/notify   # /process/env/2\npivot_root   # /root/path"},
	} {
		p, bad := planned(t, c.config, c.facts, c.opt)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.name, bad)
			continue
		}
		if got := strings.Join(lines(p)[1:], "\n"); got != c.want {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", c.name, got, c.want)
		}
		verified(t, c.name, p)
	}
}

// TestPlanSources says who clones what: the runtime with the attributes that it
// sets, the walker early, or the walker in its turn.
func TestPlanSources(t *testing.T) {
	const bind = `{"destination": "/a", "source": "/x", "options": ["rbind", "ro", "rnosuid"]}`
	with := func(change func(*Options)) Options {
		o := allNew
		change(&o)
		return o
	}
	none := func(*Options) {}
	user := with(func(o *Options) { o.UserNS = true })
	for _, c := range []struct {
		config string
		facts  host.Facts
		opt    Options
		want   string
	}{
		{mounts(bind), privileged, with(none), "turn /x ro rnosuid, early /bundle/rootfs"},
		{mounts(bind), onKernel(5, 13), with(none), "turn /x ro rnosuid, early /bundle/rootfs"},
		{mounts(strings.Replace(bind, `"rnosuid"`, `"nosymfollow"`, 1)), onKernel(5, 13), with(none), "turn /x, early /bundle/rootfs"},
		{mounts(strings.Replace(bind, `, "rnosuid"`, "", 1)), onKernel(5, 10), with(none), "turn /x, early /bundle/rootfs"},
		{mounts(bind), privileged, user, "runtime /x ro rnosuid rslave, runtime /bundle/rootfs rslave"},
		{mounts(bind), privileged, with(func(o *Options) { o.JoinedMountNS = true }), "runtime /x ro rnosuid rslave, runtime /bundle/rootfs rslave"},
		{mounts(bind), privileged, with(func(o *Options) { o.MountNS = false }), "runtime /x ro rnosuid rprivate, runtime /bundle/rootfs rprivate"},
		{`{"linux": {"rootfsPropagation": "shared"}, "mounts": [` + bind + `]}`, privileged, with(none), "runtime /x ro rnosuid, runtime /bundle/rootfs"},
		{`{"linux": {"rootfsPropagation": "private"}, "mounts": [` + bind + `]}`, privileged, with(none), "turn /x ro rnosuid, early /bundle/rootfs"},
		{mounts(bind), unprivileged, user, "early /x, early /bundle/rootfs"},
		{mounts(`{"destination": "/b", "type": "tmpfs", "options": ["tmpcopyup"]}`), privileged, with(none), "runtime /b, early /bundle/rootfs"},
		{mounts(`{"destination": "/b", "source": "/x", "options": ["bind"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`), privileged, with(none), "runtime /x rslave, early /bundle/rootfs"},
		// A tree that has the root in it.
		{mounts(`{"destination": "/host", "source": "/", "options": ["rbind", "ro"]}`), privileged, with(none), "early /, early /bundle/rootfs"},
		{mounts(`{"destination": "/b", "source": "/bundle", "options": ["rbind"]}`), privileged, with(none), "early /bundle, early /bundle/rootfs"},
		{mounts(`{"destination": "/b", "source": "/bundle", "options": ["bind"]}`), privileged, with(none), "turn /bundle, early /bundle/rootfs"},
		{mounts(`{"destination": "/b", "source": "/bundle/root", "options": ["rbind"]}`), privileged, with(none), "turn /bundle/root, early /bundle/rootfs"},
	} {
		p, bad := planned(t, c.config, c.facts, c.opt)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.config, bad)
			continue
		}
		var got []string
		handed := 0
		for _, s := range p.sources {
			if strings.HasPrefix(s.Path, "/dev/") {
				continue
			}
			got = append(got, s.text())
			if s.opener == byRuntime {
				handed++
			}
		}
		if strings.Join(got, ", ") != c.want || len(p.Sources()) != handed {
			t.Errorf("%s:\ngot:  %s, %d from the runtime\nwant: %s", c.config, strings.Join(got, ", "), len(p.Sources()), c.want)
		}
		verified(t, c.config, p)
	}
}

// text is who opens the source, its path and what is set on its clone before it
// is attached.
func (s Source) text() string {
	parts := slices.Concat([]string{[...]string{"runtime", "early", "turn"}[s.opener], s.Path}, attrNames(s.Attr, ""), attrNames(s.Rec, "r"))
	if s.opener == byRuntime && s.base != 0 {
		parts = append(parts, propagationName(s.base))
	}
	return strings.Join(parts, " ")
}

//spec:16,17,18
func TestPlanIDMap(t *testing.T) {
	user := allNew
	user.UserNS = true
	user.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}
	user.GIDMappings = []specs.LinuxIDMapping{{HostID: 2000, Size: 10}}
	p, bad := planned(t, mounts(`{"destination": "/a", "source": "/x", "options": ["rbind", "ridmap"]}`), privileged, user)
	if bad.Err() != nil {
		t.Fatal(bad)
	}
	if id := p.Sources()[0].IDMap; id == nil || id.UID[0].HostID != 1000 || id.GID[0].HostID != 2000 || !id.Recursive {
		t.Errorf("the container's own mapping is used, got %+v", id)
	}
	user.UIDMappings, user.GIDMappings = nil, nil
	p, bad = planned(t, `{"mounts": [{"destination": "/a", "source": "/x", "options": ["bind", "idmap"]}],
		"linux": {"namespaces": [{"type": "user", "path": "/proc/7/ns/user"}]}}`, privileged, user)
	if id := p.Sources()[0].IDMap; bad.Err() != nil || id == nil || id.Userns != "/proc/7/ns/user" || id.Recursive {
		t.Errorf("the mapping of the joined namespace is used, got %+v, %v", id, bad)
	}
}

// TestPlanInlineIDMap: the mapping behind "idmap=", of the file system's ids to
// those that the mount shows.
//
//spec:16,17
func TestPlanInlineIDMap(t *testing.T) {
	user := allNew
	user.UserNS = true
	user.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 2, Size: 1000}}
	user.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 100}}
	const hint = "; write idmap=uids=FROM-TO-COUNT#FROM-TO-COUNT;gids=FROM-TO-COUNT, where FROM is the id in the file system and TO what the mount shows"
	for option, want := range map[string]string{
		"idmap=uids=0-1-10;gids=0-100-10":          "uid 0 1 10, gid 0 100 10",
		"ridmap=uids=0-1-10#10-11-10;gids=0-100-9": "uid 0 1 10, uid 10 11 10, gid 0 100 9, recursive",
		"idmap=uids=@1-3-10;gids=@7-9-1":           "uid 1 4 10, gid 7 5009 1",
		"idmap=uids=0-1-10":                        "uids and gids belong together",
		"idmap=;":                                  `"" is neither uids nor gids`,
		"idmap=uids=0-1-10;gids=":                  `"" is not three numbers, FROM-TO-COUNT, of a range of ids`,
		"idmap=uids=0-1;gids=0-1-1":                `"0-1" is not three numbers, FROM-TO-COUNT, of a range of ids`,
		"idmap=uids=0-1-0;gids=0-1-1":              `"0-1-0" is not three numbers, FROM-TO-COUNT, of a range of ids`,
		"idmap=uids=0-4294967295-1;gids=0-1-1":     `"0-4294967295-1" is not three numbers, FROM-TO-COUNT, of a range of ids`,
		"idmap=uids=0--1-1;gids=0-1-1":             `"0--1-1" is not three numbers, FROM-TO-COUNT, of a range of ids`,
		"idmap=uids=@1-0-2;gids=0-1-1":             `"1-0-2" is not within one range of the container's user namespace`,
		"idmap=pids=0-1-1":                         `"pids" is neither uids nor gids`,
	} {
		for _, how := range []string{`"type": "tmpfs", "options": ["nosuid", "` + option + `"]`, `"source": "/x", "options": ["bind", "` + option + `"]`} {
			p, bad := planned(t, mounts(`{"destination": "/a", `+how+`}`), privileged, user)
			if bad.Err() != nil {
				if got := bad.Error(); got != "idmap /a: "+want+" (config.json /mounts/0/options/1)"+hint {
					t.Errorf("%s: %s", option, got)
				}
				continue
			}
			var got []string
			id := p.Sources()[0].IDMap
			for _, m := range id.UID {
				got = append(got, fmt.Sprint("uid ", m.ContainerID, " ", m.HostID, " ", m.Size))
			}
			for _, m := range id.GID {
				got = append(got, fmt.Sprint("gid ", m.ContainerID, " ", m.HostID, " ", m.Size))
			}
			if id.Recursive {
				got = append(got, "recursive")
			}
			if text := strings.Join(got, ", "); text != want {
				t.Errorf("%s: %s", option, text)
			}
			if !strings.Contains(strings.Join(p.Lines(), "\n"), option) {
				t.Errorf("%s: not in the plan's text", option)
			}
		}
	}
}

func TestPlanJSON(t *testing.T) {
	p, _ := planned(t, `{"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["nosuid", "size=1m"]}], "linux": {"maskedPaths": ["/m"]}}`, privileged, allNew)
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"root":"/bundle/rootfs","ops":[{"op":"mount","field":"/mounts/0","type":"tmpfs","target":"/x","options":["nosuid","size=1m"]}`,
		`{"op":"mknod","path":"/dev/null","type":"c","major":1,"minor":3,"mode":438}`,
		`{"op":"link","name":"ptmx","to":"pts/ptmx","replace":true}`,
		`{"op":"mask","field":"/linux/maskedPaths/0","path":"/m"}`,
		`{"op":"pivot_root","field":"/root/path"}]}`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in\n%s", want, raw)
		}
	}
}

// compiled is the program of a plan, ended by an exit.
func compiled(t *testing.T, p *Plan) *nsenter.Program {
	t.Helper()
	n := len(p.Sources())
	b := nsenter.NewBuilder(n)
	regs := make([]nsenter.Reg, n)
	for i := range regs {
		regs[i] = nsenter.Reg(i + 1)
	}
	p.CompilePivot(b, p.CompileMounts(b, regs))
	b.Exit(0)
	program, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// verified holds a plan's program to the security rules, and its origins to
// pointers.
func verified(t *testing.T, name string, p *Plan) *nsenter.Program {
	t.Helper()
	program := compiled(t, p)
	if err := nsenter.Verify(program); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return program
}

func TestHostID(t *testing.T) {
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 10}}
	for given, want := range map[string]string{"0": "1000", "1": "100000", "10": "100009", "11": "11", "x": "x", "": ""} {
		if got := hostID(given, maps); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

// A read-only /sys of the host is read-only with all that is mounted in it (CVE-2023-25809); other trees are as they are
// asked for.
func TestWholeSys(t *testing.T) {
	for _, c := range []struct{ source, options, want string }{
		{"/sys", `"rbind","ro"`, "rbind /sys on /sys -o ro,rro"},
		{"/sys/", `"rbind","ro"`, "rbind /sys on /sys -o ro,rro"},
		{"/sys", `"rbind"`, "rbind /sys on /sys"},
		{"/sys", `"bind","ro"`, "bind /sys on /sys -o ro"},
		{"/usr", `"rbind","ro"`, "rbind /usr on /sys -o ro"},
	} {
		p, bad := planned(t, `{"mounts": [{"destination": "/sys", "type": "bind", "source": "`+c.source+`", "options": [`+c.options+`]}]}`, privileged, allNew)
		if bad.Err() != nil {
			t.Fatal(bad)
		}
		if got, _, _ := strings.Cut(p.Lines()[1], "   #"); got != c.want {
			t.Errorf("%s %s: %q, not %q", c.source, c.options, got, c.want)
		}
	}
}
