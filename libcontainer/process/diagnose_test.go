package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// image makes a root file system: a name with content, a directory ("/" at the
// end) or a link ("-> TARGET").
func image(t *testing.T, entries map[string]string) *scene {
	dir := t.TempDir()
	for name, content := range entries {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(root) })
	return &scene{root: root, cwd: "/work", user: identity{text: "0:0"}}
}

func TestWhy(t *testing.T) {
	s := image(t, map[string]string{
		"app":             "#!/bin/sh\n",
		"work/here":       "#!interpreter\n",
		"deep/1":          "#!/deep/2\n",
		"deep/2":          "#!/deep/1\n",
		"nested":          "#!/nested2\n",
		"nested2":         "#!/nowhere\n",
		"odd":             "#!/bin/\x1b[31m\n",
		"out":             "-> ../../../../../../../etc/hostname",
		"absolute":        "-> /app",
		"sub/up":          "-> ../app",
		"dangling":        "-> sub/../gone/x",
		"circle":          "-> circle",
		"through":         "-> app/x",
		"text":            "hello",
		"relative/script": "#!/bin/sh -e\n",
	})
	const shell = "its interpreter /bin/sh is not in the image"
	for _, tt := range []struct {
		name  string
		errno unix.Errno
		want  string
	}{
		{"/app", unix.ENOENT, shell},
		{"/absolute", unix.ENOENT, shell},
		{"/sub/up", unix.ENOENT, shell},
		{"/sub/../../../app", unix.ENOENT, shell},
		{"../relative/script", unix.ENOENT, shell},
		{"./here", unix.ENOENT, "its interpreter interpreter is not in the image"},
		{"/nested", unix.ENOENT, "its interpreter /nested2: its interpreter /nowhere is not in the image"},
		{"/odd", unix.ENOENT, `its interpreter "/bin/\x1b[31m" is not in the image`},
		{"/deep/1", unix.ELOOP, "scripts that name each other"},
		{"/out", unix.ENOENT, "the symbolic link /out leads to ../../../../../../../etc/hostname, which is not there"},
		{"/dangling", unix.ENOENT, "the symbolic link /dangling leads to sub/../gone/x, which is not there"},
		{"/circle", unix.ELOOP, "its symbolic links go in a circle"},
		{"/through", unix.ENOTDIR, "/app is a file, not a directory"},
		{"/text", unix.ENOEXEC, "it is a text without a #! line, which names the interpreter"},
		{"/none", unix.ENOENT, "the image has no such file; is the root file system complete?"},
		{"/no/such/file", unix.ENOENT, "the image has no directory /no"},
		// What does not go with the kernel's answer is not said.
		{"/app", unix.ENOEXEC, ""},
		{"/app", unix.E2BIG, ""},
		{"/app", unix.ENOMEM, ""},
		{"/text", unix.ENOENT, ""},
		{"/none", unix.EACCES, ""},
		{"/sub", unix.EISDIR, ""},
	} {
		if got := s.why(tt.name, tt.errno); got != tt.want && (tt.want == "" || !strings.HasSuffix(got, tt.want)) {
			t.Errorf("%s, %v: %q, want %q", tt.name, tt.errno, got, tt.want)
		}
	}
}

func TestBarred(t *testing.T) {
	s := image(t, map[string]string{"none": "", "owner": "", "group": "", "all": "", "dir/file": ""})
	dir := "/proc/self/fd/" + strconv.Itoa(s.root) + "/"
	for name, mode := range map[string]os.FileMode{"none": 0o644, "owner": 0o744, "group": 0o754, "all": 0o755} {
		if err := os.Chmod(dir+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	me, mine := uint32(os.Geteuid()), uint32(os.Getegid())
	owner := identity{known: true, uid: me, gids: []uint32{mine + 7}}
	member := identity{known: true, uid: me + 1, gids: []uint32{mine + 7, mine}}
	other := identity{known: true, uid: me + 1, gids: []uint32{mine + 7}}
	strong := identity{known: true, uid: me + 1, caps: 1 << capDACOverride}
	for _, tt := range []struct {
		name string
		who  identity
		want string
	}{
		{"none", owner, "no execute permission"},
		{"none", strong, "no execute permission"},
		{"owner", owner, ""},
		{"owner", member, "may not be executed by user"},
		{"owner", strong, ""},
		{"owner", identity{}, ""}, // not known
		{"group", member, ""},
		{"group", other, "may not be executed by user"},
		{"all", other, ""},
		{"dir", owner, "is no regular file but a directory"},
	} {
		s.user = tt.who
		f, err := s.at("/" + tt.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.barred(s); got != tt.want && (tt.want == "" || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		f.close()
	}
}

func TestIdentity(t *testing.T) {
	p := planOf(t, config(t, `{"process":{"user":{"uid":5,"gid":6}}}`), machine(), Options{})
	const status = "Name:\tx\nUid:\t0\t0\t0\t100005\nGid:\t0\t0\t0\t100006\nGroups:\t100007 100008 \nCapEff:\t0000000000000002\n"
	id := newIdentity(p, status, "         0     100000       1000\n", "0 100000 7\n")
	if !id.known || id.uid != 100005 || len(id.gids) != 3 || id.gids[2] != 100008 || !id.caps.has(capDACOverride) || id.text != "5:6" {
		t.Errorf("%+v", id)
	}
	if got := inside(id.uidMap, 100009) + " " + inside(id.gidMap, 100007); got != "9 unmapped" {
		t.Errorf("inside: %s", got)
	}
	for _, damaged := range []string{"", "Uid:\t0\t0\t0\t0\n", strings.Replace(status, "CapEff", "X", 1)} {
		if newIdentity(p, damaged, "", "").known {
			t.Errorf("%q is enough", damaged)
		}
	}
}

// Without a process to look into, the hints are the general ones.
func TestDiagnoseWithoutProcess(t *testing.T) {
	s := config(t, `{}`)
	s.Process.Args = []string{"/x"}
	p := planOf(t, s, machine(), Options{})
	for _, pid := range []int{0, -1, 1 << 22} {
		e := &fault.Error{Op: opExec, Errno: unix.ENOENT, Phase: fault.PhaseProcess}
		if got, want := p.Diagnose(e, pid).Error(), p.Explain(e).Error(); got != want {
			t.Errorf("%d: %s, want %s", pid, got, want)
		}
	}
	if p.Diagnose(nil, 1) != nil {
		t.Error("nil was diagnosed")
	}
}
