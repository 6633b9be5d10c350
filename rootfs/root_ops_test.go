package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// withProc is a config of /proc, what a test is about, and nothing else.
func withProc(mounts ...string) string {
	all := append([]string{`{"destination": "/proc", "type": "proc", "source": "proc"}`}, mounts...)
	return `{"mounts": [` + strings.Join(all, ",\n") + `]}`
}

// showMount prints the mountinfo fields of one mount that do not change from
// run to run: options, optional fields without numbers, type, source.
const showMount = `show() { busybox awk -v t="$1" '$5==t {o=$6; for (i=7; $i!="-"; i++) {sub(/:.*/, "", $i); o=o" "$i}; print t, o, $(i+1), $(i+2)}' /proc/self/mountinfo; }
`

// TestRootOps runs one container per kind of Op, with the program of this
// kernel and, where it can do it, with that of Linux 5.10.
func TestRootOps(t *testing.T) {
	needRoot(t)
	data := t.TempDir()
	disk := diskOf(t, data)
	must(t, os.WriteFile(filepath.Join(data, "file"), []byte("hello\n"), 0o644))
	must(t, os.Mkdir(filepath.Join(data, "sub"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(data, "sub"), "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(filepath.Join(data, "sub"), unix.MNT_DETACH) })

	var layers []string
	for i := range 3 {
		layer := filepath.Join(t.TempDir(), strings.Repeat(string(rune('a'+i)), 130))
		must(t, os.Mkdir(layer, 0o755))
		layers = append(layers, layer)
	}
	lower := strings.Join(append(layers, data), ":")

	for _, c := range []struct {
		name, config, script, want string
		since                      host.Version
		prepare                    func(t *testing.T, root string)
	}{
		{
			name:   "bind a file read-only",
			config: withProc(`{"destination": "/etc/data", "source": "DATA/file", "options": ["bind", "ro", "nosuid"]}`),
			script: `show /etc/data; busybox cat /etc/data`,
			want:   "/etc/data ro,nosuid,relatime DISK\nhello\n",
		},
		{
			name:   "bind a directory without what is mounted below it",
			config: withProc(`{"destination": "/new/data", "source": "DATA", "options": ["bind"]}`),
			script: `show /new/data; show /new/data/sub`,
			want:   "/new/data rw,relatime DISK\n",
		},
		{
			name:   "ro is of one mount",
			config: withProc(`{"destination": "/data", "source": "DATA", "options": ["rbind", "ro"]}`),
			script: `show /data; show /data/sub`,
			want:   "/data ro,relatime DISK\n/data/sub rw,relatime tmpfs tmpfs\n",
		},
		{
			name:   "rro is of the tree",
			config: withProc(`{"destination": "/data", "source": "DATA", "options": ["rbind", "rro", "noatime"]}`),
			script: `show /data; show /data/sub`,
			want:   "/data ro,noatime DISK\n/data/sub ro,relatime tmpfs tmpfs\n",
			since:  host.Version{Major: 5, Minor: 12},
		},
		{
			name:   "propagation of a bind",
			config: withProc(`{"destination": "/data", "source": "DATA", "options": ["rbind", "rshared"]}`),
			script: `show /data; show /data/sub`,
			want:   "/data rw,relatime shared DISK\n/data/sub rw,relatime shared tmpfs tmpfs\n",
		},
		{
			name:   "a relative destination, and one below an earlier mount",
			config: withProc(`{"destination": "a", "type": "tmpfs", "options": ["ro"]}`, `{"destination": "/a/b", "type": "tmpfs", "source": "in"}`),
			script: `show /a; show /a/b`,
			want:   "/a ro,relatime tmpfs none\n/a/b rw,relatime tmpfs in\n",
		},
		{
			name:   "remount",
			config: withProc(`{"destination": "/a", "type": "tmpfs", "source": "x"}`, `{"destination": "/a", "options": ["remount", "bind", "ro"]}`),
			script: `show /a`,
			want:   "/a ro,relatime tmpfs x\n",
		},
		{
			name:   "remount the file system",
			config: withProc(`{"destination": "/a", "type": "tmpfs", "source": "x"}`, `{"destination": "/a", "type": "tmpfs", "options": ["remount", "size=64k", "nosuid"]}`),
			script: `show /a; busybox df -k /a | busybox awk 'NR==2 {print $2}'`,
			want:   "/a rw,nosuid,relatime tmpfs x\n64\n",
		},
		{
			name:   "what only mount(2) can do",
			config: withProc(`{"destination": "/a", "type": "tmpfs", "source": "x", "options": ["silent", "iversion", "noexec", "size=64k", "private"]}`),
			script: `show /a`,
			want:   "/a rw,noexec,relatime tmpfs x\n",
		},
		{
			name:   "options of the superblock",
			config: withProc(`{"destination": "/a", "type": "tmpfs", "source": "x", "options": ["sync", "dirsync", "lazytime", "nosymfollow", "nodiratime"]}`),
			script: `show /a; busybox grep -o 'rw,sync,dirsync,lazytime' /proc/self/mountinfo`,
			want:   "/a rw,nodiratime,relatime,nosymfollow tmpfs x\nrw,sync,dirsync,lazytime\n",
		},
		{
			name:   "a tmpfs has the mode of what it covers",
			config: withProc(`{"destination": "/etc", "type": "tmpfs", "options": ["ro"]}`, `{"destination": "/new", "type": "tmpfs"}`, `{"destination": "/tmp", "type": "tmpfs", "options": ["mode=710"]}`),
			script: `busybox stat -c '%a %u %g %n' /etc /new /tmp`,
			want:   "2750 0 0 /etc\n1777 0 0 /new\n710 0 0 /tmp\n",
			prepare: func(t *testing.T, root string) {
				must(t, os.Chown(filepath.Join(root, "etc"), 7, 8))
				must(t, unix.Chmod(filepath.Join(root, "etc"), 0o2750))
			},
		},
		{
			name:   "a tree that the root is in has none of the container's mounts",
			config: withProc(`{"destination": "/mnt", "type": "tmpfs"}`, `{"destination": "/host", "source": "/", "options": ["rbind"]}`),
			script: `busybox grep -c "rootfs/mnt" /proc/self/mountinfo; busybox grep -q " /host/proc " /proc/self/mountinfo && echo rbind`,
			want:   "0\nrbind\n",
		},
		{
			name: "mountinfo has the order of the config",
			config: withProc(`{"destination": "/a", "type": "tmpfs"}`, `{"destination": "/b", "source": "DATA", "options": ["bind", "ro"]}`,
				`{"destination": "/c", "type": "tmpfs"}`, `{"destination": "/d", "source": "DATA", "options": ["rbind", "nodev"]}`),
			script: `busybox awk '{printf "%s ", $5}' /proc/self/mountinfo; show /b; show /d`,
			want:   "/ /proc /a /b /c /d /d/sub /b ro,relatime DISK\n/d rw,nodev,relatime DISK\n",
		},
		{
			name:   "tmpcopyup",
			config: withProc(`{"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "ro"]}`),
			script: `show /etc; busybox cat /etc/motd /etc/link; busybox stat -c '%a %u %g %n' /etc /etc/motd /etc/dir; [ /etc/hard -ef /etc/motd ] && echo same`,
			want:   "/etc ro,relatime tmpfs none\nwelcome\nwelcome\n750 7 8 /etc\n640 1 2 /etc/motd\n1777 0 0 /etc/dir\nsame\n",
			prepare: func(t *testing.T, root string) {
				etc := filepath.Join(root, "etc")
				must(t, os.WriteFile(filepath.Join(etc, "motd"), []byte("welcome\n"), 0o600))
				must(t, os.Chown(filepath.Join(etc, "motd"), 1, 2))
				must(t, os.Chmod(filepath.Join(etc, "motd"), 0o640))
				must(t, os.Link(filepath.Join(etc, "motd"), filepath.Join(etc, "hard")))
				must(t, os.Symlink("motd", filepath.Join(etc, "link")))
				must(t, os.Mkdir(filepath.Join(etc, "dir"), 0o755))
				must(t, unix.Chmod(filepath.Join(etc, "dir"), 0o1777))
				must(t, os.Chown(etc, 7, 8))
				must(t, os.Chmod(etc, 0o750))
			},
		},
		{
			name: "idmap",
			config: withProc(`{"destination": "/data", "source": "DATA", "options": ["bind", "idmap"],
				"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}], "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}]}`),
			script: `show /data; busybox stat -c '%u %g' /data/file`,
			want:   "/data rw,relatime,idmapped DISK\n1000 2000\n",
			since:  host.Version{Major: 5, Minor: 12},
		},
		{
			name: "idmap of new file systems",
			config: withProc(`{"destination": "/data", "type": "tmpfs", "source": "mapped", "options": ["nosuid", "mode=711", "ro", "uid=3", "gid=4",
				"idmap=uids=0-1000-10;gids=0-2000-10"]}`),
			script: `show /data; busybox stat -c '%a %u %g' /data`,
			want:   "/data ro,nosuid,relatime,idmapped tmpfs mapped\n711 1003 2004\n",
			since:  host.Version{Major: 6, Minor: 3},
		},
		{
			name:   "idmap of a new hugetlbfs",
			config: withProc(`{"destination": "/huge", "type": "hugetlbfs", "options": ["uid=3", "gid=4", "idmap=uids=0-1000-10;gids=0-2000-10"]}`),
			script: `show /huge; busybox stat -c '%u %g' /huge`,
			want:   "/huge rw,relatime,idmapped hugetlbfs none\n1003 2004\n",
			since:  host.Version{Major: 6, Minor: 9},
		},
		{
			name:   "an overlay of many layers with long names",
			config: withProc(`{"destination": "/o", "type": "overlay", "source": "ov", "options": ["lowerdir=LOWER", "ro"]}`),
			script: `show /o; busybox ls /o`,
			want:   "/o ro,relatime overlay ov\nfile\nsub\n",
		},
		{
			name: "devices",
			config: `{"mounts": [{"destination": "/dev", "type": "tmpfs"}], "linux": {"devices": [
				{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 384, "uid": 5, "gid": 6},
				{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438},
				{"path": "/some/where/pipe", "type": "p"}]}}`,
			script: `busybox stat -c '%n %F %a %u:%g %t:%T' /dev/fuse /dev/null /some/where/pipe`,
			want: "/dev/fuse character special file 600 5:6 a:e5\n/dev/null character special file 666 0:0 1:3\n" +
				"/some/where/pipe fifo 666 0:0 0:0\n",
		},
		{
			name: "a device that is there already",
			config: `{"linux": {"devices": [
				{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]}}`,
			script:  `busybox stat -c '%n %a' /dev/null; busybox readlink /dev/ptmx`,
			want:    "/dev/null 600\npts/ptmx\n",
			prepare: mknod("dev/null", unix.S_IFCHR|0o600, unix.Mkdev(1, 3)),
		},
		{
			name:   "masks",
			config: `{"mounts": [{"destination": "/proc", "type": "proc"}], "linux": {"maskedPaths": ["/etc/file", "/etc/dir", "/etc/link", "/none", "/sys/dir", "/sys/file"], "readonlyPaths": ["/tmp", "/no/where", "/etc/file2"]}}`,
			script: `busybox wc -c < /etc/file; busybox ls /etc/dir /sys/dir /etc/link/; busybox wc -c </sys/file; busybox touch /tmp/x; show /tmp; show /etc/dir; show /sys/dir; show /other`,
			want: "0\n/etc/dir:\n\n/etc/link/:\n\n/sys/dir:\n0\ntouch: /tmp/x: Read-only file system\n" +
				"/tmp ro,relatime DISK\n/etc/dir ro,nosuid,nodev,noexec,relatime tmpfs none\n" +
				"/sys/dir ro,nosuid,nodev,noexec,relatime tmpfs none\n/other ro,nosuid,nodev,noexec,relatime tmpfs none\n",
			prepare: func(t *testing.T, root string) {
				for _, dir := range []string{"etc/dir/in", "sys/dir/in", "other/in"} {
					must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
				}
				must(t, os.WriteFile(filepath.Join(root, "etc/file"), []byte("secret"), 0o644))
				must(t, os.WriteFile(filepath.Join(root, "sys/file"), []byte("secret"), 0o644))
				must(t, os.WriteFile(filepath.Join(root, "etc/file2"), []byte("secret"), 0o644))
				must(t, os.Symlink("/other", filepath.Join(root, "etc/link")))
			},
		},
	} {
		for _, kernel := range []host.Version{thisKernel, {Major: 5, Minor: 10}, {Major: 6, Minor: 1}} {
			old := !kernel.AtLeast(c.since.Major, c.since.Minor)
			if old && kernel != thisKernel {
				continue
			}
			t.Run(fmt.Sprintf("%s %d.%d", c.name, kernel.Major, kernel.Minor), func(t *testing.T) {
				if old {
					t.Skipf("[kernel] needs Linux %d.%d", c.since.Major, c.since.Minor)
				}
				before := hostMounts(t)
				bundle := busyboxRoot(t)
				if c.prepare != nil {
					c.prepare(t, filepath.Join(bundle, "rootfs"))
				}
				out, err := container{
					bundle: bundle, config: strings.NewReplacer("DATA", data, "LOWER", lower).Replace(c.config), opt: allNew, kernel: kernel,
					script: showMount + c.script,
				}.run(t)
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.ReplaceAll(c.want, "DISK", disk); out != want {
					t.Errorf("got:\n%s\nwant:\n%s", out, want)
				}
				if after := hostMounts(t); after != before {
					t.Errorf("the host's mounts changed:\n%s\n%s", before, after)
				}
			})
		}
	}
}

// TestRootFails holds the errors of the kernel to the entries that caused
// them.
func TestRootFails(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, config, want string
		prepare            func(t *testing.T, root string)
	}{
		{
			name:   "no such source",
			config: withProc(`{"destination": "/x", "source": "/no/such", "options": ["bind"]}`),
			want:   "bind /no/such: no such file or directory (config.json /mounts/1/source)",
		},
		{
			name:   "unknown parameter",
			config: withProc(`{"destination": "/x", "type": "tmpfs", "options": ["nosuid", "nonsense=3"]}`),
			want:   "mount tmpfs /x: tmpfs: Unknown parameter 'nonsense': invalid argument (config.json /mounts/1/options/1)",
		},
		{
			name:   "unknown type",
			config: withProc(`{"destination": "/x", "type": "nofs"}`),
			want:   "mount nofs /x: no such device (config.json /mounts/1)",
		},
		{
			name:    "a device that is another",
			config:  withProc(),
			want:    "mknod /dev/null: invalid cross-device link",
			prepare: mknod("dev/null", unix.S_IFCHR|0o666, unix.Mkdev(1, 5)),
		},
		{
			name:    "a device that is a link",
			config:  withProc(),
			want:    "mknod /dev/zero: invalid cross-device link",
			prepare: symlink("/etc/passwd", "dev/zero"),
		},
		{
			name:    "proc is a link",
			config:  withProc(),
			want:    "mount proc /proc: not a directory (config.json /mounts/0)",
			prepare: symlink("/tmp", "proc"),
		},
		{
			name:    "a loop of links",
			config:  withProc(`{"destination": "/loop/x", "type": "tmpfs"}`),
			want:    "mount tmpfs /loop/x: too many levels of symbolic links (config.json /mounts/1)",
			prepare: symlink("loop", "loop"),
		},
		{
			name:   "bind on /proc of what is no procfs",
			config: `{"mounts": [{"destination": "/proc", "source": "/sys", "options": ["bind"]}]}`,
			want:   "bind /proc: invalid cross-device link (config.json /mounts/0)",
		},
		{
			name:   "a directory on a file",
			config: withProc(`{"destination": "/bin/busybox", "source": "/sys", "options": ["bind"]}`),
			want:   "bind /bin/busybox: invalid argument (config.json /mounts/1)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bundle := busyboxRoot(t)
			if c.prepare != nil {
				c.prepare(t, filepath.Join(bundle, "rootfs"))
			}
			_, err := container{bundle: bundle, config: c.config, opt: allNew, script: "true"}.run(t)
			var e *fault.Error
			if !errors.As(err, &e) || e.Phase != fault.PhaseMounts || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
		})
	}
}

// TestRootTraps has images whose links lead out of the root. Nothing of the
// host may be made, mounted on or changed.
func TestRootTraps(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, link, dest string // link is what rootfs/trap points to
		at               string // where the mount has to be seen
	}{
		{"absolute", "CANARY", "/trap", "CANARY"},
		{"up", "../../../../../../../../../../CANARY", "/trap", "CANARY"},
		{"component", "CANARY", "/trap/deep/er", "CANARY/deep/er"},
		{"dangling", "/missing/dir", "/trap", "/missing/dir"},
		{"dangling component", "../missing", "/trap/x", "/missing/x"},
		{"chain", "/etc/second", "/trap/x", "CANARY/x"},
		{"trailing slash", "CANARY/", "/trap/", "CANARY"},
		{"dots in the destination", "CANARY", "/trap/../trap/./x", "CANARY/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bundle := busyboxRoot(t)
			root := filepath.Join(bundle, "rootfs")
			canary := t.TempDir()
			must(t, os.WriteFile(filepath.Join(canary, "canary"), nil, 0o644))
			fill := strings.NewReplacer("/CANARY", canary, "CANARY", canary)
			symlink(fill.Replace(c.link), "trap")(t, root)
			symlink(canary, "etc/second")(t, root)
			out, err := container{
				bundle: bundle, opt: allNew, script: showMount + "show " + fill.Replace(c.at),
				config: withProc(`{"destination": "` + c.dest + `", "type": "tmpfs", "source": "here"}`),
			}.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if want := fill.Replace(c.at) + " rw,relatime tmpfs here\n"; out != want {
				t.Errorf("got %q, want %q", out, want)
			}
			unchanged(t, canary)
		})
	}
}

// TestRootDevTrap is CVE-2026-41579: /dev is a link to a directory of the host.
//
//spec:42
func TestRootDevTrap(t *testing.T) {
	needRoot(t)
	for _, config := range []string{
		`{}`,
		`{"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/dev", "type": "tmpfs"}]}`,
		`{"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]}], "process": {"terminal": true}}`,
	} {
		canary := t.TempDir()
		must(t, os.WriteFile(filepath.Join(canary, "canary"), nil, 0o644))
		bundle := busyboxRoot(t)
		symlink(canary, "dev")(t, filepath.Join(bundle, "rootfs"))
		opt := allNew
		opt.Console = strings.Contains(config, "terminal")
		if opt.Console {
			symlink(canary+"/made", "dev/console")
		}
		out, err := container{bundle: bundle, config: config, opt: opt, script: "busybox ls /dev/"}.run(t)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "null\n") {
			t.Errorf("no devices in the container: %q", out)
		}
		unchanged(t, canary)
	}
}

// TestRootConsole is a terminal, with /dev/console a link to a file of the
// host (CVE-2026-88264) and without.
//
//spec:21,42
func TestRootConsole(t *testing.T) {
	needRoot(t)
	opt := allNew
	opt.Console = true
	config := withProc(`{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}`)
	canary := t.TempDir()
	for _, to := range []string{"", canary + "/made", canary + "/canary", "pts/0"} {
		must(t, os.WriteFile(filepath.Join(canary, "canary"), nil, 0o644))
		bundle := busyboxRoot(t)
		if to != "" {
			symlink(to, "dev/console")(t, filepath.Join(bundle, "rootfs"))
		}
		out, err := container{
			bundle: bundle, config: config, opt: opt,
			script: showMount + `show /dev/console; busybox ls /dev/pts | busybox tr '\n' ' '; busybox stat -L -c '%F %t:%T' /dev/console`,
		}.run(t)
		if err != nil {
			t.Fatal(err)
		}
		if want := "/dev/console rw,relatime devpts devpts\n0 ptmx character special file 88:0\n"; out != want {
			t.Errorf("console -> %q: got %q, want %q", to, out, want)
		}
		unchanged(t, canary)
	}
	_, err := container{bundle: busyboxRoot(t), config: withProc(), opt: opt, script: "true"}.run(t)
	if want := "open /dev/pts/ptmx: no such file or directory (config.json /process/terminal)"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("without devpts: %v, want %s", err, want)
	}
}

//spec:79
func TestRootPropagation(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ given, want string }{
		{"", ""}, {"private", ""}, {"rprivate", ""}, {"shared", " shared"}, {"rshared", " shared"},
		{"unbindable", " unbindable"}, {"runbindable", " unbindable"}, {"slave", ""},
	} {
		for _, kernel := range []host.Version{thisKernel, {Major: 5, Minor: 10}} {
			bundle := busyboxRoot(t)
			out, err := container{
				bundle: bundle, opt: allNew, script: showMount + "show /", kernel: kernel,
				config: `{"mounts": [{"destination": "/proc", "type": "proc"}], "linux": {"rootfsPropagation": "` + c.given + `"}}`,
			}.run(t)
			if want := "/ rw,relatime" + c.want + " " + diskOf(t, bundle) + "\n"; err != nil || out != want {
				t.Errorf("%s on %v: got %q, %v, want %q", c.given, kernel, out, err, want)
			}
		}
	}
}

// TestRootVolume binds a shared mount of the host: what the host mounts there
// reaches the container unless it is to be private, and the other way only where
// everything is shared.
func TestRootVolume(t *testing.T) {
	needRoot(t)
	volume := t.TempDir()
	must(t, unix.Mount("tmpfs", volume, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(volume, unix.MNT_DETACH) })
	must(t, unix.Mount("", volume, "", unix.MS_SHARED, ""))
	for _, c := range []struct{ root, options, want string }{
		{"", `"rbind"`, " master"}, {"", `"rbind", "rslave"`, " master"}, {"", `"rbind", "rprivate"`, ""},
		{"", `"bind", "ro"`, " master"}, {"", `"rbind", "rshared"`, " shared master"},
		{"slave", `"rbind"`, " master"}, {"private", `"rbind"`, ""}, {"shared", `"rbind"`, " shared"},
	} {
		for _, kernel := range []host.Version{thisKernel, {Major: 5, Minor: 10}} {
			for _, opt := range []Options{allNew, {MountNS: true, JoinedMountNS: true, PIDNS: true, NetNS: true}} {
				out, err := container{
					bundle: busyboxRoot(t), opt: opt, script: showMount + "show /volume", kernel: kernel,
					config: `{"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/volume", "source": "` + volume + `", "options": [` + c.options + `]}],
						"linux": {"rootfsPropagation": "` + c.root + `"}}`,
				}.run(t)
				mode := "rw"
				if strings.Contains(c.options, `"ro"`) {
					mode = "ro"
				}
				if want := "/volume " + mode + ",relatime" + c.want + " tmpfs tmpfs\n"; err != nil || out != want {
					t.Errorf("%q %s on %v, joined %v: got %q, %v, want %q", c.root, c.options, kernel, opt.JoinedMountNS, out, err, want)
				}
			}
		}
	}
}

// TestRootCgroup mounts this process's own groups.
func TestRootCgroup(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/sys/fs/cgroup/cpu/cgroup.procs"); err != nil {
		t.Skip("[cgroup1] needs cgroup v1")
	}
	groups := []CgroupMount{
		{Name: "cpu", Dir: "/sys/fs/cgroup/cpu", Controllers: []string{"cpu"}, Symlinks: []string{"alias"}},
		{Name: "systemd", Dir: "/sys/fs/cgroup/systemd", Controllers: []string{"name=systemd"}},
		{Name: "unified", Dir: "/sys/fs/cgroup/unified", V2: true},
	}
	for _, namespace := range []bool{true, false} {
		for _, kernel := range []host.Version{thisKernel, {Major: 5, Minor: 10}} {
			opt := allNew
			opt.CgroupNS, opt.Cgroup = namespace, groups
			out, err := container{
				bundle: busyboxRoot(t), opt: opt, kernel: kernel,
				script: showMount + `for m in "" /cpu /systemd /unified; do show /sys/fs/cgroup$m; done; busybox readlink /sys/fs/cgroup/alias`,
				config: withProc(`{"destination": "/sys", "type": "sysfs", "options": ["ro"]}`,
					`{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}`),
			}.run(t)
			ro := " ro,nosuid,nodev,noexec,relatime "
			want := "/sys/fs/cgroup" + ro + "tmpfs cgroup\n/sys/fs/cgroup/cpu" + ro + "cgroup cgroup\n" +
				"/sys/fs/cgroup/systemd" + ro + "cgroup cgroup\n/sys/fs/cgroup/unified" + ro + "cgroup2 cgroup\ncpu\n"
			if !namespace {
				want = strings.Replace(want, "cgroup2 cgroup\n", "cgroup2 cgroup2\n", 1)
			}
			if err != nil || out != want {
				t.Errorf("cgroup namespace %v, %v: got %v\n%s\nwant\n%s", namespace, kernel, err, out, want)
			}
		}
		opt := allNew
		opt.CgroupNS, opt.Cgroup = namespace, []CgroupMount{{Dir: "/sys/fs/cgroup/unified", V2: true}}
		out, err := container{
			bundle: busyboxRoot(t), opt: opt, script: showMount + "show /cg; busybox ls /cg/cgroup.procs",
			config: withProc(`{"destination": "/cg", "type": "cgroup", "source": "cgroup", "options": ["ro"]}`),
		}.run(t)
		if err != nil || !strings.HasPrefix(out, "/cg ro,relatime cgroup2") || !strings.HasSuffix(out, "/cg/cgroup.procs\n") {
			t.Errorf("pure v2, cgroup namespace %v: got %q, %v", namespace, out, err)
		}
	}
}

// TestRootUnreachable is a bundle that the container's user may not reach: the
// root goes over "/" and pivot_root(2) takes it from there.
func TestRootUnreachable(t *testing.T) {
	needRoot(t)
	bundle := busyboxRoot(t)
	chownTree(t, bundle)
	must(t, os.Chown(bundle, 0, 0))
	must(t, os.Chmod(bundle, 0o700))
	opt := allNew
	opt.UserNS = true
	out, err := container{bundle: bundle, config: withProc(), opt: opt, script: showMount + "show /; busybox ls /"}.run(t)
	if err != nil || !strings.HasPrefix(out, "/ rw,relatime "+diskOf(t, bundle)+"\nbin\ndev\n") {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestRootMany has more mounts than a process usually may have descriptors:
// those of new file systems do not stay open, those of binds do until their
// turn comes, and the runtime's do until they are sent.
func TestRootMany(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	for kind, mount := range map[string]string{
		"new":      `{"destination": "/m/%d", "type": "tmpfs"}`,
		"in turn":  `{"destination": "/m/%d", "source": "FILE", "options": ["bind", "ro"]}`,
		"received": `{"destination": "/m/%d", "source": "FILE", "options": ["bind", "ro"]}`,
	} {
		if kind != "new" && limit.Max < 2000 {
			t.Skip("[descriptors] needs 2000 descriptors")
		}
		var mounts []string
		for i := range 1200 {
			mounts = append(mounts, strings.Replace(fmt.Sprintf(mount, i), "FILE", file, 1))
		}
		opt := allNew
		opt.JoinedMountNS = kind == "received"
		out, err := container{
			bundle: busyboxRoot(t), config: withProc(mounts...), opt: opt,
			script: "busybox grep -c ' /m/' /proc/self/mountinfo",
		}.run(t)
		if err != nil || out != "1200\n" {
			t.Errorf("%s: got %q, %v", kind, out, err)
		}
	}
}

func TestOpenAllOrNothing(t *testing.T) {
	needRoot(t)
	before := descriptors(t)
	files, err := Open([]Source{{Path: "/"}, {Path: "/no/such", Op: "bind", Field: "/mounts/3/source"}})
	if files != nil && err == nil || len(descriptors(t)) != len(before) {
		t.Errorf("got %v, %v, and descriptors %v after %v", files, err, descriptors(t), before)
	}
}

func descriptors(t *testing.T) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return list
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mknod(name string, mode uint32, dev uint64) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		path := filepath.Join(root, name)
		must(t, unix.Mknod(path, mode, int(dev)))
		must(t, os.Chmod(path, os.FileMode(mode&0o777)))
	}
}

// symlink replaces name in the root by a link.
func symlink(to, name string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		path := filepath.Join(root, name)
		must(t, os.RemoveAll(path))
		must(t, os.Symlink(to, path))
	}
}

// unchanged holds a directory of the host to what it was.
func unchanged(t *testing.T, canary string) {
	t.Helper()
	list, err := os.ReadDir(canary)
	must(t, err)
	if len(list) != 1 || list[0].Name() != "canary" {
		t.Errorf("the host's directory has changed: %v", list)
	}
	if strings.Contains(hostMounts(t), canary) {
		t.Errorf("something is mounted on the host's %s", canary)
	}
}

// TestRootHostPID has a user namespace but the host's pid namespace, where the
// kernel allows no procfs: the trusted one is the host's.
func TestRootHostPID(t *testing.T) {
	needRoot(t)
	for _, unpriv := range []bool{false, true} {
		bundle := busyboxRoot(t)
		chownTree(t, bundle)
		out, err := container{
			bundle: bundle, unpriv: unpriv, opt: Options{MountNS: true, UserNS: true},
			config: `{"mounts": [{"destination": "/proc", "source": "/proc", "options": ["rbind", "nosuid", "nodev", "noexec"]},
				{"destination": "/dev", "type": "tmpfs"}, {"destination": "/sys", "source": "/sys", "options": ["rbind", "ro"]}],
				"linux": {"maskedPaths": ["/proc/acpi", "/proc/keys"], "readonlyPaths": ["/proc/sys"]}}`,
			script: showMount + "show /proc; show /sys; show /proc/sys; busybox wc -c </proc/keys; busybox ls -A /proc/acpi",
		}.run(t)
		want := "/proc rw,nosuid,nodev,noexec,relatime proc proc\n/sys ro,relatime sysfs sysfs\n" +
			"/proc/sys ro,nosuid,nodev,noexec,relatime proc proc\n0\n"
		if err != nil || out != want {
			t.Errorf("unprivileged %v: got %v\n%s\nwant\n%s", unpriv, err, out, want)
		}
	}
}

// TestRootRace exchanges a directory of the root with a link out of it all the
// time (CVE-2021-30465, CVE-2024-45310). Containers may fail; the host's
// directory stays as it is.
func TestRootRace(t *testing.T) {
	needRoot(t)
	bundle := busyboxRoot(t)
	root := filepath.Join(bundle, "rootfs")
	canary := t.TempDir()
	must(t, os.WriteFile(filepath.Join(canary, "canary"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(root, "trap"), 0o755))
	must(t, os.Symlink(canary, filepath.Join(root, "link")))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "trap"), unix.AT_FDCWD, filepath.Join(root, "link"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	c := container{
		bundle: bundle, opt: allNew, script: "true",
		config: `{"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/trap/a/b", "type": "tmpfs"},
			{"destination": "/trap/f", "source": "/dev/null", "options": ["bind"]}],
			"process": {"cwd": "/trap/c/d"}, "linux": {"devices": [{"path": "/trap/e/null", "type": "c", "major": 1, "minor": 3}],
			"maskedPaths": ["/trap/a"], "readonlyPaths": ["/trap/e"]}}`,
	}
	for range 20 {
		_, _ = c.run(t)
	}
	close(stop)
	<-done
	unchanged(t, canary)
}

// diskOf is the type and the device of the file system that dir is on.
func diskOf(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	best, disk := "", ""
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		fields, kind, _ := strings.Cut(line, " - ")
		if at := strings.Fields(fields)[4]; within(dir, at) && len(at) >= len(best) {
			best, disk = at, strings.Join(strings.Fields(kind)[:2], " ")
		}
	}
	return disk
}
