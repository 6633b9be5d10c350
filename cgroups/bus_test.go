package cgroups

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestBusPath(t *testing.T) {
	for in, want := range map[string]string{
		"unix:path=/run/user/5/bus":                   "/run/user/5/bus",
		"unix:guid=1;unix:path=/a,guid=0":             "/a",
		"tcp:host=a,port=1;unix:path=/a":              "/a",
		"unix:abstract=/tmp/dbus-x,guid=5":            "@/tmp/dbus-x",
		"unix:path=/a%20b%2fc%":                       "/a b/c%",
		"unix:path=/%zz":                              "/%zz",
		"unix:path=":                                  "",
		"unix:runtime=yes":                            "",
		"path=/a":                                     "",
		"tcp:host=localhost,path=/a":                  "",
		"unix:path=/first;unix:path=/second":          "/first",
		"autolaunch:;unix:tmpdir=/tmp;unix:path=/run": "/run",
	} {
		if got, ok := busPath(in); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", in, got, ok)
		}
	}
}

// Where a user's systemd is looked for.
func TestUserBus(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/5")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/5/bus")
	b := busOf(true)
	if named, err := b.named(); err != nil || named != "" || b.private != "/run/user/5/systemd/private" {
		t.Errorf("%+v: %q, %v", b, named, err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=x")
	if named, _ := b.named(); named != "@x" {
		t.Errorf("%q", named)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if b := busOf(true); !strings.HasPrefix(b.socket, "/run/user/") {
		t.Errorf("%+v", b)
	}
}

func TestMappedUID(t *testing.T) {
	for _, c := range []struct {
		uidMap string
		uid    int
		want   int
	}{
		{"         0          0 4294967295\n", 1000, 1000},
		{"         0       1000          1\n         1     100000      65536\n", 0, 1000},
		{"         0       1000          1\n         1     100000      65536\n", 5, 100004},
		{"         0       1000          1\n", 65534, 65534},
		{"", 7, 7},
	} {
		if got := mappedUID(c.uidMap, c.uid); got != c.want {
			t.Errorf("%q: %d is %d, not %d", c.uidMap, c.uid, got, c.want)
		}
	}
}

// Who listens on a socket is known without a word.
func TestListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, ok := listener(path); ok {
		t.Error("nobody listens")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// This test is no manager in a group init.scope.
	if group, ok := listener(path); ok {
		t.Errorf("in %s", group)
	}
}
