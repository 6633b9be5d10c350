package rootfs

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// userns is user namespaces by their mappings, for mount_setattr(2), which
// takes a mapping only in the form of a namespace that has it.
type userns map[string]*os.File

func (u userns) close() {
	for _, f := range u {
		f.Close()
	}
}

// get returns a namespace with the mapping; it stays u's.
func (u userns) get(id IDMap) (*os.File, error) {
	key := id.Userns + "\n" + mapText(id.UID) + "\n" + mapText(id.GID)
	if f, ok := u[key]; ok {
		return f, nil
	}
	f, err := openUserns(id)
	if err == nil {
		u[key] = f
	}
	return f, err
}

func openUserns(id IDMap) (*os.File, error) {
	if id.Userns != "" {
		return os.Open(id.Userns)
	}
	return newUserns(id)
}

// newUserns makes a user namespace with a child that lives only until it is
// open.
func newUserns(id IDMap) (*os.File, error) {
	child, err := unshared()
	if err != nil {
		return nil, err
	}
	defer child.Wait()
	defer child.Close()
	event, err := child.Next()
	if err != nil {
		return nil, err
	}
	if event.Sync != nsenter.SyncMaps {
		return nil, &fault.Error{Op: "idmap", Msg: "the child that holds the user namespace died"}
	}
	proc := fmt.Sprintf("/proc/%d/", child.PID)
	if err := writeFile(proc+"uid_map", mapText(id.UID)); err != nil {
		return nil, err
	}
	if err := writeFile(proc+"gid_map", mapText(id.GID)); err != nil {
		return nil, err
	}
	return os.Open(proc + "ns/user")
}

// unshared starts a child that makes a user namespace and waits in SyncMaps.
func unshared() (*nsenter.Child, error) {
	b := nsenter.NewBuilder(0)
	b.For(nsenter.Origin{Op: "idmap"})
	b.Unshare(unix.CLONE_NEWUSER)
	b.Sync(nsenter.SyncMaps)
	b.Exit(0)
	program, err := b.Program()
	if err != nil {
		return nil, err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fd := int(null.Fd())
	child, err := nsenter.Start(nsenter.Config{Exe: self, Stdio: [3]int{fd, fd, fd}})
	if err != nil {
		return nil, err
	}
	if err := child.Send(program, nil); err != nil {
		child.Close()
		child.Wait()
		return nil, err
	}
	return child, nil
}

// mapText is a mapping as /proc/PID/uid_map takes it (user_namespaces(7)).
func mapText(mappings []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range mappings {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

func writeFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
