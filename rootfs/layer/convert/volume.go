package convert

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Seed makes a volume's directory, with what the image has at its place: all of
// it (owners, attributes, links, holes) or, where that is no directory, nothing.
// root is the root file system, such as an overlay that is mounted nowhere. One
// that exists already is left as it is; where copying fails, nothing is left.
// It runs cp(1) of GNU coreutils.
func Seed(root *os.File, v Volume) error {
	if _, err := os.Lstat(v.Source); err == nil {
		return nil
	}
	temp := v.Source + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return fault.From(err, "remove", temp)
	}
	defer os.RemoveAll(temp)
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return fault.From(err, "mkdir", temp)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	from, err := unix.Openat2(int(root.Fd()), v.Destination, &how)
	switch {
	case err == nil:
		err = copyAll(os.NewFile(uintptr(from), v.Destination), temp)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		err = nil
	}
	if err != nil {
		return fault.From(err, "copy the image's", v.Destination)
	}
	if err := os.Rename(temp, v.Source); err != nil {
		return fault.From(err, "rename", v.Source)
	}
	return nil
}

// copyAll copies what is in from, which it closes, and from's own metadata.
func copyAll(from *os.File, to string) error {
	defer from.Close()
	const inherited = "/proc/self/fd/3/." // the first of ExtraFiles
	cmd := exec.Command("cp", "-a", "--reflink=auto", "--no-target-directory", "--", inherited, to)
	cmd.ExtraFiles = []*os.File{from}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		line, _, _ := strings.Cut(said.String(), "\n")
		return &fault.Error{Op: "copy the image's", Path: from.Name(), Msg: strings.ReplaceAll(line, inherited, from.Name()), Err: err}
	}
	return nil
}
