package rootfs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"berth/libcontainer/host"
	"berth/nsenter"
)

// stepsFor is the steps that entry field and its options asked for, without
// their numbers and close(2). A jump is printed as "->".
func stepsFor(p *nsenter.Program, field string) string {
	number, jump := regexp.MustCompile(`^ *\d+ `), regexp.MustCompile(`-> \d+`)
	var out []string
	for i := range p.Steps {
		line := number.ReplaceAllString(p.Line(i), "")
		at := strings.LastIndex(line, "  # ")
		if at < 0 || line[at+4:] != field && !strings.HasPrefix(line[at+4:], field+"/") || strings.HasPrefix(line, "close(") || strings.HasPrefix(line, "exit_group(") {
			continue
		}
		line = jump.ReplaceAllString(strings.Replace(line, "  # "+field, "  #", 1), "->")
		for _, short := range [][2]string{
			{", {O_PATH|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24", ", IN_ROOT"},
			{", {O_PATH|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24", ", NOFOLLOW"},
			{", {O_PATH|O_NOFOLLOW|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24", ", NOFOLLOW"},
			{", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH", ""}, {"FSCONFIG_", ""}, {", FSOPEN_CLOEXEC", ""},
			{", FSMOUNT_CLOEXEC", ""}, {"MOUNT_ATTR_", ""}, {", 32)", ")"}, {"OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH", "CLONE"},
		} {
			line = strings.ReplaceAll(line, short[0], short[1])
		}
		out = append(out, strings.TrimSuffix(line, "  #"))
	}
	return strings.Join(out, "\n")
}

// TestCompile has the system calls of one entry, on the kernels that make a
// difference.
func TestCompile(t *testing.T) {
	old, user := onKernel(5, 10), allNew
	user.UserNS = true
	console := allNew
	console.Console = true
	for _, c := range []struct {
		name, config, field string
		facts               host.Facts
		opt                 Options
		want                string
	}{
		{"a file system", mounts(`{"destination": "/x", "type": "tmpfs", "source": "t", "options": ["nosuid", "size=1m", "huge"]}`), "/mounts/0", privileged, allNew, `
r2 = fsopen("tmpfs")
fsconfig(r2, SET_STRING, "source", "t", 0)
fsconfig(r2, SET_STRING, "size", "1m", 0)  #/options/1
fsconfig(r2, SET_FLAG, "huge", NULL, 0)  #/options/2
fsconfig(r2, CMD_CREATE, NULL, NULL, 0)
r4 = fsmount(r2, NOSUID)
r2 = openat2(r1, "/x", IN_ROOT) or ENOENT ->
LIKE_MODE(r4, r2) then ->
r2 = MAKE(r1, "/x", 0755, dir, NULL)
move_mount(r4, "", r2, "")`},
		{"on a link, of a link", mounts(`{"destination": "/x", "source": "/y", "options": ["bind", "src-nofollow", "dest-nofollow"]}`), "/mounts/0", privileged, allNew, `
r1 = open_tree(AT_FDCWD, "/y", OPEN_TREE_CLOEXEC|AT_SYMLINK_NOFOLLOW)  #/source
r3 = open_tree(r1, "", CLONE)
r1 = openat2(r2, "/x", NOFOLLOW) or ENOENT then ->
r1 = MAKE(r2, "/x", 0755, like, r3)
move_mount(r3, "", r1, "")`},
		{"a read-only file system", mounts(`{"destination": "/sys", "type": "sysfs", "options": ["ro"]}`), "/mounts/0", privileged, allNew, `
r2 = fsopen("sysfs")
fsconfig(r2, SET_FLAG, "ro", NULL, 0)
fsconfig(r2, CMD_CREATE, NULL, NULL, 0)
r4 = fsmount(r2, RDONLY)
r2 = openat2(r1, "sys", NOFOLLOW) or ENOENT then ->
mkdirat(r1, "sys", 0755)
r2 = openat2(r1, "sys", NOFOLLOW)
move_mount(r4, "", r2, "")`},
		{"a read-only tmpfs", mounts(`{"destination": "/x", "type": "tmpfs", "options": ["ro", "noexec", "mode=1"]}`), "/mounts/0", privileged, allNew, `
r2 = fsopen("tmpfs")
fsconfig(r2, SET_STRING, "mode", "1", 0)  #/options/2
fsconfig(r2, CMD_CREATE, NULL, NULL, 0)
r4 = fsmount(r2, NOEXEC)
r2 = MAKE(r1, "/x", 0755, dir, NULL)
move_mount(r4, "", r2, "")
mount_setattr(r4, "", AT_EMPTY_PATH, {attr_set=RDONLY})`},
		{"a read-only tmpfs, old", mounts(`{"destination": "/x", "type": "tmpfs", "options": ["ro", "noexec", "mode=1"]}`), "/mounts/0", old, allNew, `
r2 = fsopen("tmpfs")
fsconfig(r2, SET_STRING, "mode", "1", 0)  #/options/2
fsconfig(r2, CMD_CREATE, NULL, NULL, 0)
r4 = fsmount(r2, NOEXEC)
r2 = MAKE(r1, "/x", 0755, dir, NULL)
move_mount(r4, "", r2, "")
dup3(r4, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", NULL, MS_RDONLY|MS_NOEXEC|MS_REMOUNT|MS_BIND, NULL)`},
		{"superblock flags", mounts(`{"destination": "/x", "type": "ext4", "source": "/dev/a", "options": ["sync", "lazytime", "private"]}`), "/mounts/0", privileged, allNew, `
r2 = fsopen("ext4")
fsconfig(r2, SET_STRING, "source", "/dev/a", 0)
fsconfig(r2, SET_FLAG, "sync", NULL, 0)
fsconfig(r2, SET_FLAG, "lazytime", NULL, 0)
fsconfig(r2, CMD_CREATE, NULL, NULL, 0)
r4 = fsmount(r2, 0x0)
r2 = MAKE(r1, "/x", 0755, dir, NULL)
move_mount(r4, "", r2, "")
mount_setattr(r4, "", AT_EMPTY_PATH, {propagation=MS_PRIVATE})  #/options/2`},
		{"what needs mount(2)", mounts(`{"destination": "/x", "type": "ext4", "source": "/dev/a", "options": ["iversion", "ro", "a=b", "c"]}`), "/mounts/0", privileged, allNew, `
r2 = MAKE(r1, "/x", 0755, dir, NULL)
dup3(r2, 1000, O_CLOEXEC)
fchdir(r3)
mount("/dev/a", "self/fd/1000", "ext4", MS_RDONLY|MS_I_VERSION, "a=b,c")`},
		{"nosymfollow before Linux 5.14", mounts(`{"destination": "/x", "type": "tmpfs", "options": ["nosymfollow", "slave"]}`), "/mounts/0", onKernel(5, 13), allNew, `
r2 = MAKE(r1, "/x", 0755, dir, NULL)
dup3(r2, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", "tmpfs", MS_NOSYMFOLLOW, NULL)
r2 = openat2(r1, "/x", IN_ROOT)
mount_setattr(r2, "", AT_EMPTY_PATH, {propagation=MS_SLAVE})  #/options/1`},
		{"a bind", mounts(`{"destination": "/x", "source": "/s", "options": ["rbind", "ro", "rnosuid", "rshared"]}`), "/mounts/0", privileged, allNew, `
r1 = open_tree(AT_FDCWD, "/s", OPEN_TREE_CLOEXEC)  #/source
r3 = open_tree(r1, "", CLONE|AT_RECURSIVE)
mount_setattr(r3, "", AT_EMPTY_PATH, {attr_set=RDONLY})
mount_setattr(r3, "", AT_EMPTY_PATH|AT_RECURSIVE, {attr_set=NOSUID})
r1 = MAKE(r2, "/x", 0755, like, r3)
move_mount(r3, "", r1, "")
mount_setattr(r3, "", AT_EMPTY_PATH|AT_RECURSIVE, {propagation=MS_SHARED})  #/options/3`},
		{"a bind of one mount", mounts(`{"destination": "/x", "source": "/s", "options": ["bind", "ro", "rnosuid"]}`), "/mounts/0", privileged, allNew, `
r1 = open_tree(AT_FDCWD, "/s", OPEN_TREE_CLOEXEC)  #/source
r3 = open_tree(r1, "", CLONE)
mount_setattr(r3, "", AT_EMPTY_PATH, {attr_set=RDONLY|NOSUID})
r1 = MAKE(r2, "/x", 0755, like, r3)
move_mount(r3, "", r1, "")`},
		{"a bind of what the root is in", mounts(`{"destination": "/x", "source": "/", "options": ["rbind", "ro"]}`), "/mounts/0", privileged, allNew, `
r1 = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE)  #/source
r3 = MAKE(r2, "/x", 0755, like, r1)
move_mount(r1, "", r3, "")
mount_setattr(r1, "", AT_EMPTY_PATH, {attr_set=RDONLY})  #/options/1`},
		{"a bind whose attributes the runtime sets", mounts(`{"destination": "/x", "source": "/s", "options": ["rbind", "ro", "rshared"]}`), "/mounts/0", privileged, user, `
r9 = MAKE(r2, "/x", 0755, like, r1)
move_mount(r1, "", r9, "")
mount_setattr(r1, "", AT_EMPTY_PATH|AT_RECURSIVE, {propagation=MS_SHARED})  #/options/2`},
		{"a bind, old", mounts(`{"destination": "/x", "source": "/s", "options": ["rbind", "ro", "rshared"]}`), "/mounts/0", old, allNew, `
r1 = open_tree(AT_FDCWD, "/s", OPEN_TREE_CLOEXEC)  #/source
r3 = open_tree(r1, "", CLONE|AT_RECURSIVE)
r1 = MAKE(r2, "/x", 0755, like, r3)
move_mount(r3, "", r1, "")
dup3(r3, 1000, O_CLOEXEC)  #/options/1
fchdir(r4)  #/options/1
mount(NULL, "self/fd/1000", NULL, MS_RDONLY|MS_REMOUNT|MS_BIND, NULL)  #/options/1
dup3(r3, 1000, O_CLOEXEC)  #/options/2
fchdir(r4)  #/options/2
mount(NULL, "self/fd/1000", NULL, MS_REC|MS_SHARED, NULL)  #/options/2`},
		{"a bind without privileges", mounts(`{"destination": "/x", "source": "/s", "options": ["rbind", "ro", "rnosuid"]}`), "/mounts/0", unprivileged, user, `
r1 = open_tree(AT_FDCWD, "/s", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE)  #/source
r9 = MAKE(r8, "/x", 0755, like, r1)
move_mount(r1, "", r9, "")
mount_setattr(r1, "", AT_EMPTY_PATH, {attr_set=RDONLY})  #/options/1
mount_setattr(r1, "", AT_EMPTY_PATH|AT_RECURSIVE, {attr_set=NOSUID})  #/options/2`},
		{"a bind on /proc", mounts(`{"destination": "/proc", "source": "/proc", "options": ["rbind"]}`), "/mounts/0", privileged, allNew, `
r1 = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLOEXEC)  #/source
r3 = open_tree(r1, "", CLONE|AT_RECURSIVE)
CHECK(r3, 00, 0x0, 0x9fa0, 0)
r1 = openat2(r2, "proc", NOFOLLOW) or ENOENT then ->
mkdirat(r2, "proc", 0755)
r1 = openat2(r2, "proc", NOFOLLOW)
move_mount(r3, "", r1, "")`},
		{"a remount of attributes", mounts(`{"destination": "/x", "options": ["remount", "bind", "ro", "rrw"]}`), "/mounts/0", privileged, allNew, `
r2 = openat2(r1, "/x", IN_ROOT)
mount_setattr(r2, "", AT_EMPTY_PATH, {attr_set=RDONLY})
mount_setattr(r2, "", AT_EMPTY_PATH|AT_RECURSIVE, {attr_clr=RDONLY})  #/options/3`},
		{"a remount of the file system", mounts(`{"destination": "/x", "type": "tmpfs", "options": ["remount", "ro", "size=1m"]}`), "/mounts/0", privileged, allNew, `
r2 = openat2(r1, "/x", IN_ROOT)
dup3(r2, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", "tmpfs", MS_RDONLY|MS_REMOUNT, "size=1m")`},
		{"a device", `{"linux": {"devices": [{"path": "/a/b", "type": "b", "major": 8, "minor": 1, "fileMode": 384, "uid": 1}]}}`, "/linux/devices/0", privileged, allNew, `
r2 = MAKE(r1, "/a", 0755, dir, NULL)
mknodat(r2, "b", S_IFBLK|0600, makedev(8, 1)) or EEXIST then ->
r4 = openat2(r2, "b", NOFOLLOW)
CHECK(r4, 060000, 0x801, 0x0, 0)
fchownat(r2, "b", 1, 0, AT_SYMLINK_NOFOLLOW)`},
		{"a device in a user namespace", `{"linux": {"devices": [{"path": "/a/b", "type": "b", "major": 8, "minor": 1}]}}`, "/linux/devices/0", privileged, user, `
r2 = open_tree(AT_FDCWD, "/a/b", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)
CHECK(r2, 060000, 0x801, 0x0, 0)
r9 = MAKE(r1, "/a/b", 0666, file, NULL)
move_mount(r2, "", r9, "")`},
		{"a read-only path", `{"linux": {"readonlyPaths": ["/r"]}}`, "/linux/readonlyPaths/0", privileged, allNew, `
r4 = openat2(r1, "/r", IN_ROOT) or ENOENT|ENOTDIR ->
r5 = open_tree(r4, "", CLONE|AT_RECURSIVE)
mount_setattr(r5, "", AT_EMPTY_PATH, {attr_set=RDONLY})
move_mount(r5, "", r4, "")`},
		{"a read-only path keeps its mount's attributes, old", `{"mounts": [{"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec"]}], "linux": {"readonlyPaths": ["/proc/sys"]}}`, "/linux/readonlyPaths/0", old, allNew, `
r5 = openat2(r4, "sys", IN_ROOT) or ENOENT|ENOTDIR ->
r6 = open_tree(r5, "", CLONE|AT_RECURSIVE)
move_mount(r6, "", r5, "")
dup3(r6, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", NULL, MS_RDONLY|MS_NOSUID|MS_NOEXEC|MS_REMOUNT|MS_BIND, NULL)`},
		{"a masked file", `{"linux": {"maskedPaths": ["/m"]}}`, "/linux/maskedPaths/0", privileged, allNew, `
r6 = openat2(r1, "/m", IN_ROOT) or ENOENT|ENOTDIR ->
r7 = open_tree(r2, "", CLONE)
move_mount(r7, "", r6, "") or EINVAL|ENOTDIR then ->
r7 = open_tree(r5, "", CLONE)
move_mount(r7, "", r6, "")`},
		{"a masked directory, old", `{"linux": {"maskedPaths": ["/proc/acpi"]}}`, "/linux/maskedPaths/0", onKernel(6, 1), allNew, `
r6 = openat2(r1, "/proc/acpi", IN_ROOT) or ENOENT|ENOTDIR ->
r7 = open_tree(r5, "", CLONE) or EINVAL ->
move_mount(r7, "", r6, "") or EINVAL|ENOTDIR -> then ->
move_mount(r5, "", r6, "") or EINVAL|ENOTDIR -> then ->
r7 = open_tree(r2, "", CLONE)
move_mount(r7, "", r6, "")`},
		{"a working directory", `{"process": {"cwd": "w"}}`, "/process/cwd", privileged, allNew, `
r4 = MAKE(r1, "/w", 0755, dir, NULL) or EACCES|EROFS|ELOOP|ENOTDIR ->`},
		{"the console", `{"process": {"terminal": true}}`, "/process/terminal", privileged, console, `
r4 = openat2(r1, "dev/pts/ptmx", NOFOLLOW)
CHECK(r4, 020000, 0x502, 0x1cd1, 2)
dup3(r4, 1000, O_CLOEXEC)
r5 = openat(r3, "self/fd/1000", O_RDWR|O_NOCTTY|O_CLOEXEC)
ioctl(r5, TIOCSPTLCK, [0])
r4 = ioctl(r5, TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC)
SEND_FD(console, r5)
mknodat(r2, "console", S_IFREG|0600, makedev(0, 0)) or EEXIST
r5 = openat2(r2, "console", NOFOLLOW)
r6 = open_tree(r4, "", CLONE)
move_mount(r6, "", r5, "")`},
		{"the root's propagation", `{"linux": {"rootfsPropagation": "shared"}}`, "/linux/rootfsPropagation", privileged, allNew, `
mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, {propagation=MS_SLAVE})
mount_setattr(r1, "", AT_EMPTY_PATH, {propagation=MS_SHARED})`},
		{"the root's propagation, old", `{"linux": {"rootfsPropagation": "runbindable"}}`, "/linux/rootfsPropagation", old, allNew, `
mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)
dup3(r1, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", NULL, MS_REC|MS_UNBINDABLE, NULL)
fchdir(r1)`},
		{"a read-only root", `{"root": {"path": "r", "readonly": true}}`, "/root/readonly", privileged, allNew, `
mount_setattr(r1, "", AT_EMPTY_PATH, {attr_set=RDONLY})`},
		{"a read-only root, old", `{"root": {"path": "r", "readonly": true}}`, "/root/readonly", old, allNew, `
dup3(r1, 1000, O_CLOEXEC)
fchdir(r3)
mount(NULL, "self/fd/1000", NULL, MS_RDONLY|MS_REMOUNT|MS_BIND, NULL)
fchdir(r1)`},
	} {
		p, bad := planned(t, c.config, c.facts, c.opt)
		if bad.Err() != nil {
			t.Errorf("%s: %v", c.name, bad)
			continue
		}
		program := verified(t, c.name, p)
		if got := stepsFor(program, c.field); got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s:\ngot:\n%s\nwant:%s\n", c.name, got, c.want)
		}
	}
}

// TestCopyLink: a link is copied, also one that leads nowhere; what is not one is bound.
//
//spec:19
func TestCopyLink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/no/where", filepath.Join(dir, "link")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	for name, want := range map[string]string{
		"link": `r1 = open_tree(AT_FDCWD, "DIR/link", OPEN_TREE_CLOEXEC|AT_SYMLINK_NOFOLLOW)  #/source
r1 = MAKE(r2, "/a/b", 0755, dir, NULL)
symlinkat("/no/where", r1, "c") or EEXIST then ->
r3 = openat2(r1, "c", NOFOLLOW)
CHECK(r3, 0120000, 0x0, 0x0, 0)
unlinkat(r1, "c", 0)
symlinkat("/no/where", r1, "c")`,
		"file": `r1 = open_tree(AT_FDCWD, "DIR/file", OPEN_TREE_CLOEXEC|AT_SYMLINK_NOFOLLOW)  #/source
r3 = open_tree(r1, "", CLONE)
r1 = MAKE(r2, "/a/b/c", 0755, like, r3)
move_mount(r3, "", r1, "")`,
	} {
		p, bad := planned(t, mounts(`{"destination": "/a/b/c", "source": "`+dir+`/`+name+`", "options": ["bind", "copy-symlink"]}`), privileged, allNew)
		if bad.Err() != nil {
			t.Fatal(bad)
		}
		p.ReadLinks()
		if got := strings.ReplaceAll(stepsFor(verified(t, name, p), "/mounts/0"), dir, "DIR"); got != want {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", name, got, want)
		}
	}
}
