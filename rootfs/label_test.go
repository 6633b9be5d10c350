package rootfs

import (
	"regexp"
	"strings"
	"testing"

	"berth/libcontainer/host"
)

var registers = regexp.MustCompile(`\br[0-9]+\b`)

const selinuxLabel = "system_u:object_r:container_file_t:s0:c1,c2"

func onSELinux() host.Facts {
	f := privileged
	f.LSM.SELinux = true
	return f
}

// TestMountLabel has one mount each under linux.mountLabel: what the label
// becomes of it.
//
//spec:81
func TestMountLabel(t *testing.T) {
	const (
		context = `fsconfig(rN, FSCONFIG_SET_STRING, "context", "` + selinuxLabel + `", 0)  # /linux/mountLabel`
		xattr   = `fsetxattr(rN, "security.selinux", "` + selinuxLabel + `", 43, 0)  # /linux/mountLabel`
	)
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ entry, want string }{
		{`{"destination": "/x", "type": "tmpfs", "options": ["size=1m"]}`, context},
		{`{"destination": "/dev/pts", "type": "devpts"}`, context},
		{`{"destination": "/x", "type": "overlay", "options": ["lowerdir=/a:/b"]}`, context},
		{`{"destination": "/x", "type": "ext4", "source": "/dev/sda1", "options": ["data=ordered"]}`, context},
		{`{"destination": "/dev/mqueue", "type": "mqueue"}`, xattr},
		{`{"destination": "/proc", "type": "proc"}`, ""},
		{`{"destination": "/sys", "type": "sysfs"}`, ""},
		{`{"destination": "/sys/fs/cgroup", "type": "cgroup2"}`, ""},
		{`{"destination": "/x", "source": "/data", "options": ["rbind"]}`, ""},
		{`{"destination": "/x", "type": "tmpfs", "options": ["context=own"]}`,
			`fsconfig(rN, FSCONFIG_SET_STRING, "context", "own", 0)  # /mounts/0/options/0`},
		{`{"destination": "/x", "type": "tmpfs", "options": ["rootcontext=own"]}`,
			`fsconfig(rN, FSCONFIG_SET_STRING, "rootcontext", "own", 0)  # /mounts/0/options/0`},
		// mount(2) has all options in one string, where only quotes keep the
		// label's comma from ending it.
		{`{"destination": "/x", "type": "tmpfs", "options": ["mpol=` + long + `"]}`,
			`mount(NULL, "self/fd/1000", "tmpfs", 0x0, "mpol=` + long + `,context=\"` + selinuxLabel + `\"")  # /mounts/0`},
	} {
		config := `{"mounts": [` + c.entry + `], "linux": {"mountLabel": "` + selinuxLabel + `"}}`
		p, bad := planned(t, config, onSELinux(), allNew)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.entry, bad)
			continue
		}
		if got := labelSteps(t, p); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.entry, got, c.want)
		}
		for _, line := range stepsOf(t, p) {
			if strings.Contains(line, "/linux/mountLabel") && strings.Contains(line, "move_mount") {
				t.Errorf("%s: %s", c.entry, line)
			}
		}
	}
}

// labelSteps are the steps of a plan's program that have to do with labels.
func labelSteps(t *testing.T, p *Plan) string {
	t.Helper()
	var out []string
	for _, line := range stepsOf(t, p) {
		if strings.Contains(line, "context") || strings.Contains(line, "security.") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// stepsOf are the lines of a plan's program without numbers of steps and
// registers.
func stepsOf(t *testing.T, p *Plan) []string {
	t.Helper()
	prog := verified(t, "labels", p)
	var out []string
	for i := range prog.Steps {
		_, line, _ := strings.Cut(strings.TrimLeft(prog.Line(i), " "), " ")
		out = append(out, registers.ReplaceAllString(line, "rN"))
	}
	return out
}

// What the runtime mounts of its own has the label too: the tmpfs that the
// copy of tmpcopyup is made in, the one above cgroup v1, and what hides masked
// directories.
//
//spec:81
func TestMountLabelOfOwnMounts(t *testing.T) {
	const context = `fsconfig(rN, FSCONFIG_SET_STRING, "context", "` + selinuxLabel + `", 0)  # /linux/mountLabel`
	groups := allNew
	groups.Cgroup = []CgroupMount{{Name: "pids", Dir: "/sys/fs/cgroup/pids/c", Controllers: []string{"pids"}}}
	for _, c := range []struct {
		config string
		opt    Options
		want   string
	}{
		{`"linux": {"mountLabel": "L", "maskedPaths": ["/proc/acpi"]}`, allNew, context},
		{`"linux": {"mountLabel": "L"}, "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup"}]`, groups, context},
		{`"linux": {"mountLabel": "L"}`, allNew, ""},
	} {
		p, bad := planned(t, "{"+strings.Replace(c.config, `"L"`, `"`+selinuxLabel+`"`, 1)+"}", onSELinux(), c.opt)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.config, bad)
			continue
		}
		if got := labelSteps(t, p); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.config, got, c.want)
		}
	}
	p, _ := planned(t, `{"linux": {"mountLabel": "`+selinuxLabel+`"}, "mounts": [{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}]}`,
		onSELinux(), allNew)
	if got := joinParams(p.Sources()[0].Fresh.Params); got != `context="`+selinuxLabel+`"` {
		t.Error(got)
	}
}

// What is said where there is no SELinux, or the label cannot be one.
//
//spec:81
func TestMountLabelComplaints(t *testing.T) {
	const no = "a quote, a line break or a zero byte cannot be part of it"
	for _, c := range []struct {
		facts       host.Facts
		label, want string
	}{
		{privileged, selinuxLabel, "mount " + selinuxLabel + ": this kernel has no SELinux, or has it disabled (config.json /linux/mountLabel); " +
			"leave the entry out, or boot with selinux=1 security=selinux and mount /sys/fs/selinux"},
		{onSELinux(), `x\",exec,context=\"y`, `mount x",exec,context="y: ` + no + " (config.json /linux/mountLabel)"},
		{onSELinux(), `x\ny`, "mount x?y: " + no + " (config.json /linux/mountLabel)"},
		{onSELinux(), strings.Repeat("x", 256), "mount: it is longer than the 255 bytes that a mount option can have (config.json /linux/mountLabel)"},
		{onSELinux(), strings.Repeat("x", 255), ""},
		{privileged, "", ""},
	} {
		_, bad := planned(t, `{"linux": {"mountLabel": "`+c.label+`"}}`, c.facts, allNew)
		got := ""
		if err := bad.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%.40s:\n%s\nwant:\n%s", c.label, got, c.want)
		}
	}
}
