package process

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

// accountsLimit is how much of an image's /etc/passwd or /etc/group is read.
const accountsLimit = 1 << 20

// Home is the home directory of uid by /etc/passwd in the root file system at
// rootfs, "/" where that has none. Links in the image stay inside it. An
// overlay that is not mounted is its layers, the topmost first; a link is
// followed in its own layer only.
func Home(uid uint32, rootfs ...string) string {
	for _, root := range rootfs {
		passwd, err := readAccounts(root, "etc/passwd")
		if err == nil {
			return homeOf(passwd, uid)
		}
		if !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return "/"
}

// readAccounts reads a file of the image, which must be a regular one.
func readAccounts(rootfs, name string) (string, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(root)
	fd, err := host.OpenRegularIn(root, name)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	content, err := host.ReadAll(fd, accountsLimit)
	return string(content), err
}

// homeOf finds the sixth field of the first line whose third is uid
// (passwd(5)).
func homeOf(passwd string, uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(fields) >= 6 && fields[2] == want && strings.HasPrefix(fields[5], "/") && !strings.ContainsRune(fields[5], 0) {
			return fields[5]
		}
	}
	return "/"
}
