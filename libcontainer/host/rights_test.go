package host

import (
	"os"
	"slices"
	"testing"
)

func TestDelegated(t *testing.T) {
	const top = "/sys/fs/cgroup"
	for name, tt := range map[string]struct {
		own  string
		mine []string
		want string
	}{
		"nothing":               {top + "/a/b", nil, ""},
		"all":                   {top + "/a/b", []string{top, top + "/a", top + "/a/b"}, top},
		"from the middle on":    {top + "/a/b/c", []string{top + "/a/b", top + "/a/b/c"}, top + "/a/b"},
		"not across a gap":      {top + "/a/b/c", []string{top + "/a", top + "/a/b/c"}, top + "/a/b/c"},
		"only above":            {top + "/a/b", []string{top + "/a"}, ""},
		"at the top":            {top, []string{top, "/sys/fs", "/"}, top},
		"outside what is shown": {"/elsewhere", []string{"/elsewhere", "/"}, ""},
	} {
		got := delegated(top, tt.own, func(dir string) bool { return slices.Contains(tt.mine, dir) })
		if got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
}

func TestMountsBelow(t *testing.T) {
	info := "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /proc rw - proc proc rw\n3 2 0:3 / /proc/a\\040b rw - tmpfs t rw\n" +
		"4 2 0:3 / /proc/c rw - tmpfs t rw\n5 4 0:3 / /proc/c rw - tmpfs t rw\n6 1 0:3 / /procession rw - tmpfs t rw\n"
	if got := MountsBelow([]byte(info), "/proc"); !slices.Equal(got, []string{"/proc/a b", "/proc/c"}) {
		t.Errorf("%q", got)
	}
}

func TestPermitted(t *testing.T) {
	c := Cgroup{V2: "/c/unified", V2Root: "/", V2Self: "/a", V2Controllers: []string{"pids", "io"},
		V1: []V1Hierarchy{{Mountpoint: "/c/cpu"}, {Mountpoint: "/c/pids", Writable: true}}}
	if got := c.Permitted(); got.V2 != "" || len(got.V2Controllers) > 0 || len(got.V1) != 1 || got.V1[0].Mountpoint != "/c/pids" {
		t.Errorf("%+v", got)
	}
	c.V2Delegated, c.V2DelegatedControllers = "/c/unified/a", []string{"pids"}
	if got := c.Permitted(); got.V2 != "/c/unified" || !slices.Equal(got.V2Controllers, []string{"pids"}) {
		t.Errorf("%+v", got)
	}
	if len(c.V1) != 2 || c.V1[0].Mountpoint != "/c/cpu" {
		t.Error("it changes what it is asked about")
	}
}

// What the runtime's own group can hand down to one below.
func TestHandsDown(t *testing.T) {
	group, top := t.TempDir(), t.TempDir()
	if err := os.WriteFile(group+"/cgroup.type", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ group, own, want string }{
		{group, group, "cgroup.subtree_control"}, {group, group + "/x", "cgroup.controllers"}, {top, top, "cgroup.controllers"},
	} {
		if got := handsDown(tt.group, tt.own); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
