package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Cases that want to get out of a layer write files with this prefix, or change the canary.
const (
	prefix  = "berth-corpus-"
	escape  = prefix + "escape"
	canary  = "/tmp/" + prefix + "canary"
	content = "this file is the host's"
)

// setCanary makes the file of the host that no case may change.
func setCanary() error {
	for _, path := range []string{canary, filepath.Join(work, prefix+"canary")} {
		os.RemoveAll(path)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0); err != nil {
			return err
		}
	}
	return nil
}

// escaped says what of the host a case has changed, and takes it back. rootfs is where the tool was to write.
func escaped(dir string) string {
	for _, path := range []string{canary, filepath.Join(work, prefix+"canary")} {
		if what := changed(path); what != "" {
			return what
		}
	}
	dirs := []string{"/", "/tmp", "/etc", work}
	for ; strings.HasPrefix(dir, work); dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(dir, escape+"*"))
		for _, path := range found {
			os.RemoveAll(path)
		}
		if len(found) > 0 {
			return "wrote " + found[0]
		}
	}
	return ""
}

func changed(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "removed " + path
	}
	raw, _ := os.ReadFile(path)
	n, _ := unix.Llistxattr(path, nil)
	switch {
	case string(raw) != content:
		return "wrote into " + path
	case st.Mode != unix.S_IFREG|0o600 || st.Uid != 0 || st.Gid != 0:
		return fmt.Sprintf("made %s %o of %d:%d", path, st.Mode, st.Uid, st.Gid)
	case st.Mtim.Sec != 1:
		return "set the time of " + path
	case st.Nlink != 1:
		return "made a hard link to " + path
	case n > 0:
		return "set an attribute of " + path
	}
	return ""
}
