package host

import (
	"reflect"
	"strings"
	"testing"
)

// show writes a Cgroup as one line for each hierarchy:
// CONTROLLERS MOUNTPOINT ROOT SELF.
func show(c Cgroup) string {
	var b strings.Builder
	if c.V2 != "" {
		b.WriteString(strings.Join([]string{"2", c.V2, c.V2Root, c.V2Self}, " ") + "\n")
	}
	for _, h := range c.V1 {
		b.WriteString(strings.Join([]string{strings.Join(h.Controllers, ","), h.Mountpoint, h.Root, h.Self}, " ") + "\n")
	}
	return b.String()
}

func TestParseCgroup(t *testing.T) {
	tests := []struct{ name, mountinfo, self, want, mode string }{
		{
			name: "unified",
			mountinfo: `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /sys rw,nosuid - sysfs sysfs rw
24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`,
			self: "0::/user.slice/user-1000.slice/session-1.scope\n",
			want: "2 /sys/fs/cgroup / /user.slice/user-1000.slice/session-1.scope\n",
			mode: "unified",
		},
		{
			name: "systemd's hybrid with merged controllers and options among them",
			mountinfo: `25 30 0:22 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,size=4096k,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
32 25 0:29 / /sys/fs/cgroup/net_cls,net_prio rw shared:16 - cgroup cgroup rw,net_cls,net_prio
`,
			self: `12:net_cls,net_prio:/
11:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-3.scope
0::/user.slice/user-0.slice/session-3.scope
`,
			want: `2 /sys/fs/cgroup/unified / /user.slice/user-0.slice/session-3.scope
name=systemd /sys/fs/cgroup/systemd / /user.slice/user-0.slice/session-3.scope
cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct / /user.slice
net_cls,net_prio /sys/fs/cgroup/net_cls,net_prio / /
`,
			mode: "hybrid",
		},
		{
			name: "inside a v1 container whose paths are the host's",
			mountinfo: `700 600 0:60 / / rw - overlay overlay rw,lowerdir=/a:/b
710 700 0:70 / /sys ro - sysfs sysfs ro
720 710 0:71 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
721 720 0:33 /docker/0abc /sys/fs/cgroup/memory ro master:17 - cgroup cgroup rw,memory
722 720 0:34 /docker/0abc /sys/fs/cgroup/pids ro master:18 - cgroup cgroup rw,pids
`,
			self: "4:memory:/docker/0abc\n3:pids:/docker/0abc/sub\n",
			want: `memory /sys/fs/cgroup/memory /docker/0abc /docker/0abc
pids /sys/fs/cgroup/pids /docker/0abc /docker/0abc/sub
`,
			mode: "legacy",
		},
		{
			name: "Docker in Docker on v2, process moved to a leaf",
			mountinfo: `900 800 0:60 / / rw - overlay overlay rw
901 900 0:61 / /sys rw - sysfs sysfs rw
902 901 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate
`,
			self: "0::/init\n",
			want: "2 /sys/fs/cgroup / /init\n",
			mode: "unified",
		},
		{
			name: "a mount from outside the cgroup namespace",
			mountinfo: `902 901 0:27 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw
`,
			self: "0::/\n",
			want: "2 /sys/fs/cgroup /../.. /\n",
			mode: "unified",
		},
		{
			name: "unified bound over everything hides the v1 mounts below",
			mountinfo: `22 1 8:1 / / rw - ext4 /dev/root rw
30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
90 30 0:37 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
`,
			self: "1:cpu:/\n0::/\n",
			want: "2 /sys/fs/cgroup / /\n",
			mode: "unified",
		},
		{
			name: "a tmpfs on top of one hierarchy hides it alone",
			mountinfo: `30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
99 31 0:90 / /sys/fs/cgroup/cpu rw - tmpfs tmpfs rw
`,
			self: "2:pids:/\n1:cpu:/\n",
			want: "pids /sys/fs/cgroup/pids / /\n",
			mode: "legacy",
		},
		{
			name: "several mounts of one hierarchy, the standard place wins",
			mountinfo: `20 1 0:29 / /run/cilium/cgroupv2 rw - cgroup2 none rw
21 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
22 1 0:29 /kubepods /sys/fs/cgroup/kubepods rw - cgroup2 cgroup2 rw
`,
			self: "0::/a\n",
			want: "2 /sys/fs/cgroup / /a\n",
			mode: "unified",
		},
		{
			name:      "only a place of its own",
			mountinfo: "20 1 0:29 / /cgroup2 rw - cgroup2 none rw\n",
			self:      "0::/a\n",
			want:      "2 /cgroup2 / /a\n",
			mode:      "unified",
		},
		{
			name: "octal escapes and colons",
			mountinfo: `20 1 0:29 /a\040b /mnt/my\040cgroups\134x rw - cgroup cgroup rw,pids
`,
			self: "3:pids:/a b/system.slice:docker:x\n",
			want: `pids /mnt/my cgroups\x /a b /a b/system.slice:docker:x` + "\n",
			mode: "legacy",
		},
		{name: "nothing", want: "", mode: "none"},
		{
			name:      "no cgroup mounted",
			mountinfo: "22 1 8:1 / / rw - ext4 /dev/root rw\n",
			self:      "3:pids:/\n0::/\n",
			mode:      "none",
		},
		{
			name:      "a hierarchy without controllers is nobody's",
			mountinfo: "22 1 8:1 / /c rw - cgroup x rw,pids\n",
			self:      "3::/\n",
			mode:      "none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseCgroup(strings.NewReader(tt.mountinfo), strings.NewReader(tt.self))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(c); got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
			if c.Mode() != tt.mode {
				t.Errorf("mode %s, want %s", c.Mode(), tt.mode)
			}
		})
	}
}

func TestParseCgroupRefuses(t *testing.T) {
	for _, tt := range []struct{ mountinfo, self string }{
		{"20 1 0:29 / /x rw cgroup2 none rw\n", ""},
		{"20 1\n", ""},
		{"20 1 0:29 / - cgroup2\n", ""},
		{"", "0:/\n"},
		{"", "\n"},
	} {
		if _, err := parseCgroup(strings.NewReader(tt.mountinfo), strings.NewReader(tt.self)); err == nil {
			t.Errorf("%q %q was accepted", tt.mountinfo, tt.self)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `\134\011\012`: "\\\t\n", `a\04`: `a\04`, `a\999`: `a\999`, `\777`: `\777`, `x\`: `x\`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestProbeCgroupIsStable(t *testing.T) {
	mountinfo, err := ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	a, b := probeCgroup(mountinfo), probeCgroup(mountinfo)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\n%+v", a, b)
	}
	t.Logf("%s\n%s%v", a.Mode(), show(a), a.V2Controllers)
}

func FuzzParseCgroup(f *testing.F) {
	f.Add("20 1 0:29 /a\\040b /sys/fs/cgroup rw - cgroup cgroup rw,pids\n", "3:pids:/\n0::/\n")
	f.Add("24 24 0:22 / / rw - cgroup2 cgroup2 rw", "0::/x")
	f.Fuzz(func(t *testing.T, mountinfo, self string) {
		c, err := parseCgroup(strings.NewReader(mountinfo), strings.NewReader(self))
		if err != nil {
			return
		}
		for _, h := range c.V1 {
			if len(h.Controllers) == 0 || h.Mountpoint == "" {
				t.Errorf("%+v", h)
			}
		}
	})
}

func TestParseResctrl(t *testing.T) {
	const root = "22 1 8:1 / / rw - ext4 /dev/root rw\n"
	const other = "24 22 0:30 / /mnt/with\\040space rw shared:3 - resctrl resctrl rw,cdp\n"
	for mountinfo, want := range map[string]string{
		"":    "",
		root:  "",
		other: "/mnt/with space",
		root + "23 22 0:30 / /sys/fs/resctrl rw - resctrl resctrl rw\n" + other:                                    "/sys/fs/resctrl",
		root + "23 22 0:30 / /sys/fs/resctrl rw - resctrl resctrl rw\n25 23 0:31 / /sys/fs/resctrl - tmpfs x rw\n": "",
		root + "23 22 0:31 / /x - resctrl  - tmpfs x rw\n":                                                         "",
	} {
		if got := parseResctrl([]byte(mountinfo)); got != want {
			t.Errorf("%q from\n%s", got, mountinfo)
		}
	}
}
