package rootfs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/host"
	"berth/nsenter"
)

var joined = Options{MountNS: true, PIDNS: true, Bundle: "/bundle"}

func specOf(t *testing.T, config string) *specs.Spec {
	t.Helper()
	spec := &specs.Spec{Root: &specs.Root{Path: "/proc/5/root"}}
	if err := json.Unmarshal([]byte(config), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestAddition has the complaints about one entry; none is a plan of that line.
func TestAddition(t *testing.T) {
	masked := `{"linux": {"maskedPaths": ["/sys/firmware"], "readonlyPaths": ["/data/ro"]}, "mounts": [%]}`
	for _, c := range []struct {
		entry, want string
		facts       host.Facts
	}{
		{`{"destination": "/x", "type": "tmpfs", "options": ["ro"]}`, "mount tmpfs on /x -o ro\nremount /x -o ro", privileged},
		{`{"destination": "/x", "source": "s", "options": ["bind"]}`, "bind /bundle/s on /x", privileged},
		{`{"destination": "/x", "type": "tmpfs"}`, "mount tmpfs on /x", unprivileged},
		{`{"destination": "/x", "source": "s", "options": ["bind"]}`, "/mounts/0/source only a runtime that is root", unprivileged},
		{`{"destination": "/x", "source": "s", "options": ["bind", "copy-symlink"]}`, "/mounts/0/options/1 a link is copied by create", privileged},
		{`{"destination": "/x", "options": ["remount", "ro"]}`, "/mounts/0/options the mounts of a running container", privileged},
		{`{"destination": "/x", "type": "tmpfs", "options": ["silent"]}`, "/mounts/0/options an option is too long, or only mount(2)", privileged},
		{`{"destination": "/proc", "type": "proc"}`, "/mounts/0/type it would not show", privileged},
		{`{"destination": "/x", "type": "cgroup2"}`, "/mounts/0/type it would not show", privileged},
		{`{"destination": "/sys", "type": "tmpfs"}`, "/mounts/0/destination config.json masks /sys/firmware", privileged},
		{`{"destination": "/sys/firmware/efi", "type": "tmpfs"}`, "/mounts/0/destination config.json masks /sys/firmware", privileged},
		{`{"destination": "/x/../data", "type": "tmpfs"}`, "/mounts/0/destination config.json masks /data/ro", privileged},
		{`{"destination": "/", "type": "tmpfs"}`, "/mounts/0/destination a mount on /", privileged},
		{`{"destination": "/proc/self", "type": "tmpfs"}`, "/mounts/0/destination a mount inside /proc", privileged},
		{`{"destination": "/x", "type": "tmpfs", "options": ["idmap"], "uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}`,
			"/mounts/0/options/0 an id-mapped mount needs Linux 5.12", onKernel(5, 10)},
	} {
		plan, bad := NewAddition(specOf(t, strings.Replace(masked, "%", c.entry, 1)), c.facts, joined)
		var lines []string
		for _, op := range plan.Ops {
			lines = append(lines, op.String())
		}
		got := strings.Join(lines, "\n")
		if len(bad) > 0 {
			got = string(bad[0].Field) + " " + bad[0].Msg
		}
		if len(bad) > 1 || !strings.HasPrefix(got, c.want) || len(bad) == 0 && got != c.want {
			t.Errorf("%s:\n got %s %v\nwant %s", c.entry, got, bad, c.want)
		}
	}
}

func TestRemoval(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{`{"destination": "/a"}, {"destination": "b", "type": "none", "options": ["bind"]}`, "/b /a"},
		{`{"destination": "/"}`, "/mounts/0/destination"},
		{`{"destination": "/proc"}`, "/mounts/0/destination"},
		{`{"destination": "/proc/self"}`, "/mounts/0/destination"},
		{`{"destination": "/proc/meminfo"}`, "/proc/meminfo"},
		{`{"destination": "/sys"}`, "/mounts/0/destination"},
		{`{"destination": "/sys/firmware"}`, "/mounts/0/destination"},
		{`{"destination": "/a"}, {"destination": "/b/../a"}`, "/mounts/0/destination"},
		{`{}`, "/mounts/0/destination"},
	} {
		spec := specOf(t, `{"linux": {"maskedPaths": ["/sys/firmware"]}, "mounts": [`+c.list+`]}`)
		places, bad := NewRemoval(spec, privileged, joined)
		var got []string
		for _, p := range places {
			got = append(got, p.Target)
		}
		if len(bad) > 0 {
			got = []string{string(bad[0].Field)}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.list, got, c.want)
		}
	}
}

// TestAdditionSteps: what is attached is told at once, before anything else that
// may fail; what is removed is looked at before.
func TestAdditionSteps(t *testing.T) {
	spec := specOf(t, mounts(`{"destination": "/d", "source": "/s", "options": ["bind", "shared"]}`, `{"destination": "/e", "type": "tmpfs"}`))
	plan, _ := NewAddition(spec, privileged, joined)
	b := nsenter.NewBuilder(3)
	plan.CompileAddition(b, 1, 2, []nsenter.Reg{3})
	b.Exit(0)
	p, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stepsFor(p, "/mounts/0"), `r4 = MAKE(r1, "/d", 0755, like, r3)
move_mount(r3, "", r4, "")
SEND_FD(mount, r3)
mount_setattr(r3, "", AT_EMPTY_PATH, {propagation=MS_SHARED})  #/options/1`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b = nsenter.NewBuilder(2)
	CompileRemoval(b, 1, 2, []Place{{"/e", "/mounts/1"}, {"/d", "/mounts/0"}})
	b.Exit(0)
	if p, err = b.Program(); err != nil {
		t.Fatal(err)
	}
	var calls []string
	for i := range p.Steps {
		if name := p.Steps[i].Call.String(); name != "close" {
			calls = append(calls, name)
		}
	}
	want := "openat2 fspick openat2 fspick dup3 fchdir umount2 dup3 fchdir umount2 exit_group"
	if got := strings.Join(calls, " "); got != want {
		t.Errorf("got %s", got)
	}
}
