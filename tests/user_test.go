package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// nobody is the ordinary user of scripts that are root's.
const nobody = 65534

// userIDs are those of the program user.
func userIDs() (uid, gid int) {
	if os.Geteuid() == 0 {
		return nobody, nobody
	}
	return os.Geteuid(), os.Getegid()
}

// runUser becomes the user, in the view and in the group $GROUP.
func runUser(args []string) error {
	runtime.LockOSThread()
	if err := enterView(os.Getenv("VIEW")); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	if group := os.Getenv("GROUP"); group != "" {
		if err := os.WriteFile(cgroup2()+group+"/cgroup.procs", []byte("0"), 0); err != nil {
			return err
		}
	}
	if err := dropTo(userIDs()); err != nil {
		return err
	}
	if os.Getenv("XDG_RUNTIME_DIR") == "" && os.Getenv("NO_XDG_RUNTIME_DIR") == "" {
		os.Setenv("XDG_RUNTIME_DIR", os.Getenv("WORK")+"/run")
	}
	if len(args) > 1 && args[0] == "--command" {
		path, err := exec.LookPath(args[1])
		if err != nil {
			return err
		}
		return unix.Exec(path, args[1:], os.Environ())
	}
	os.Setenv("USER_RUN", os.Getenv("WORK")+"/run")
	return callRuntime(args)
}

// dropTo gives up root for good; every thread does.
func dropTo(uid, gid int) error {
	if os.Geteuid() == uid {
		return nil
	}
	return errors.Join(unix.Setgroups(nil), unix.Setresgid(gid, gid, gid), unix.Setresuid(uid, uid, uid))
}

func cmdUserBundle(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "userbundle DIR [ARG…]")
	uid, gid := userIDs()
	dir, runDir := ts.MkAbs(args[0]), filepath.Join(ts.Getenv("WORK"), "run")
	ts.Check(makeRootfs(filepath.Join(dir, "rootfs"), templateOf(ts).busybox))
	if err := os.Mkdir(runDir, 0o700); !errors.Is(err, fs.ErrExist) {
		ts.Check(err)
	}
	ts.Check(os.Chown(runDir, uid, gid))
	ts.Check(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	}))
	ts.Check(ts.Exec("user", "spec", "--rootless", "-b", dir))
	editConfig(ts, args[0], func(doc any) any {
		doc = mergePatch(doc, map[string]any{"process": map[string]any{"terminal": false}})
		doc = without(doc, "/linux/namespaces", "type", "cgroup")
		if len(args) > 1 {
			doc = mergePatch(doc, processArgs(args[1:]))
		}
		return doc
	})
	id := ts.Getenv("ID")
	ts.Defer(func() {
		ts.Setenv("GROUP", "")
		ts.Exec("user", "delete", "--force", id)
	})
}

// cmdDelegate makes a group $DELEGATED, and below it $GROUP, in which the user is from then on; both are his. They are paths
// in the hierarchy of cgroup v2.
func cmdDelegate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "delegate")
	top := cgroup2()
	enable := func(dir string) {
		raw, _ := os.ReadFile(dir + "/cgroup.controllers")
		for _, c := range strings.Fields(string(raw)) {
			os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+c), 0) // what is there is used
		}
	}
	group, err := os.MkdirTemp(top, "user-")
	ts.Check(err)
	ts.Defer(func() {
		for _, dir := range slices.Backward(append([]string{group}, subgroups(group)...)) {
			os.Remove(dir)
		}
	})
	ts.Check(os.Chmod(group, 0o755))
	enable(top)
	enable(group)
	session := group + "/session"
	ts.Check(os.Mkdir(session, 0o755))
	uid, gid := userIDs()
	for _, dir := range []string{group, session} {
		for _, file := range []string{".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			ts.Check(os.Chown(filepath.Join(dir, file), uid, gid))
		}
	}
	ts.Setenv("GROUP", strings.TrimPrefix(session, top))
	ts.Setenv("DELEGATED", strings.TrimPrefix(group, top))
}

// cgroup2 is where cgroup v2 is mounted, alone or beside v1.
func cgroup2() string {
	if unified() {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/unified"
}

// subgroups are the groups below dir, the deepest last.
func subgroups(dir string) []string {
	var out []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != dir {
			out = append(out, path)
		}
		return nil
	})
	return out
}
