package convert

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Files is a root file system to read from. A file that is not there is
// unix.ENOENT.
type Files interface {
	Open(name string) (io.ReadCloser, error)
}

// Root is the root file system that a descriptor is open on, such as of an
// overlay that is mounted nowhere (overlay.Open). Links stay inside it.
type Root struct{ *os.File }

// accountsLimit is how much of an image's /etc/passwd is read.
const accountsLimit = 1 << 20

// Open opens a regular file; nothing of the image is waited for.
func (r Root) Open(name string) (io.ReadCloser, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(int(r.Fd()), name, &how)
	if err != nil {
		return nil, fault.From(err, "open", name)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, fault.From(err, "stat", name)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fault.Error{Op: "open", Path: name, Msg: "it is not a regular file"}
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(at))
}

// account is a user as the container's process has it.
type account struct {
	specs.User
	home string
}

// findUser resolves a user of an image: NAME or NUMBER, with :GROUP or without.
// Empty is root. Further groups are those of a name without a group
// (conversion.md, "Config.User").
func findUser(given string, files Files) (account, error) {
	passwd, err := read(files, "etc/passwd")
	if err != nil {
		return account{}, err
	}
	group, err := read(files, "etc/group")
	if err != nil {
		return account{}, err
	}
	found, err := user.GetExecUser(given, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		e := &fault.Error{Op: "find the user", Path: given, Err: err, Hint: "the image's /etc/passwd and /etc/group do not have it: give a number"}
		if errors.Is(err, user.ErrRange) {
			e.Hint = "numbers are from 0 to 2147483647"
		}
		return account{}, e
	}
	out := account{home: found.Home}
	if !strings.HasPrefix(out.home, "/") {
		out.home = "/"
	}
	out.UID, out.GID = uint32(found.Uid), uint32(found.Gid)
	name, explicit, _ := strings.Cut(given, ":")
	if _, err := strconv.Atoi(name); name != "" && err != nil && explicit == "" {
		for _, g := range found.Sgids {
			out.AdditionalGids = append(out.AdditionalGids, uint32(g))
		}
	}
	return out, nil
}

// read reads a file of the image; one that it does not have is empty.
func read(files Files, name string) (io.Reader, error) {
	if files == nil {
		return strings.NewReader(""), nil
	}
	f, err := files.Open(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return strings.NewReader(""), nil
	}
	if err != nil {
		return nil, fault.From(err, "read the image's", name)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, accountsLimit+1))
	if err != nil {
		return nil, fault.From(err, "read the image's", name)
	}
	if len(raw) > accountsLimit {
		return nil, &fault.Error{Op: "read the image's", Path: name, Msg: "it is larger than 1 MiB"}
	}
	return strings.NewReader(string(raw)), nil
}
