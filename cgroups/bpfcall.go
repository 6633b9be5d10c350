package cgroups

import (
	"runtime"
	"unsafe"

	"berth/libcontainer/fault"

	"golang.org/x/sys/unix"
)

// bpfAttr is the whole of union bpf_attr, and more, zeroed: the kernel takes
// a longer one if the rest is zero, but some releases write beyond a shorter
// one (BPF_PROG_QUERY, Linux 6.17 to 7.1).
type bpfAttr [32]uint64

// u32 is the 32-bit field at the offset, a multiple of four.
func (a *bpfAttr) u32(at int) *uint32 { return &(*[64]uint32)(unsafe.Pointer(a))[at/4] }

// ptr sets the pointer field at the offset, a multiple of eight. The caller
// has pinned what p points to: for the garbage collector this is a number.
func (a *bpfAttr) ptr(at int, p unsafe.Pointer) { a[at/8] = uint64(uintptr(p)) }

// name sets prog_name of BPF_PROG_LOAD, of 15 bytes at most.
func (a *bpfAttr) name(s string) { copy((*[256]byte)(unsafe.Pointer(a))[48:63], s) }

// bpf is bpf(2).
func bpf(cmd uintptr, a *bpfAttr) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR, unix.EAGAIN: // the verifier was interrupted
			continue
		}
		return -1, errno
	}
}

// apply compiles the rules and makes the program the only one that is
// attached to the group itself. Programs on the groups above stay in force.
func (f *DeviceFilter) apply() error {
	if f == nil {
		return nil
	}
	err := f.attach()
	if err != nil && f.MayFail && err.Errno == unix.EPERM {
		return nil
	}
	if err != nil {
		return err
	}
	return nil
}

func (f *DeviceFilter) attach() *fault.Error {
	prog, err := loadDeviceProgram(CompileDevices(f.Rules))
	if err != nil {
		return failed("bpf program load", f.Dir, err)
	}
	defer unix.Close(prog)
	dir, err := unix.Open(f.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", f.Dir, err)
	}
	defer unix.Close(dir)
	old, err := attachedPrograms(dir)
	if err != nil {
		return failed("bpf program query", f.Dir, err)
	}
	if err := replacePrograms(dir, prog, old); err != nil {
		return failed("bpf program attach", f.Dir, err)
	}
	return nil
}

// loadDeviceProgram returns the program's descriptor, close-on-exec as all
// that bpf(2) makes.
func loadDeviceProgram(insns []Insn) (int, error) {
	licence := []byte("Apache-2.0\x00") // no helper that asks for the GPL is called
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&insns[0])
	pin.Pin(&licence[0])
	var a bpfAttr
	*a.u32(0) = unix.BPF_PROG_TYPE_CGROUP_DEVICE
	*a.u32(4) = uint32(len(insns))
	a.ptr(8, unsafe.Pointer(&insns[0]))
	a.ptr(16, unsafe.Pointer(&licence[0]))
	a.name("berth_devices")
	return bpf(unix.BPF_PROG_LOAD, &a)
}

// maxAttached is the kernel's limit of programs on one group
// (BPF_CGROUP_MAX_PROGS).
const maxAttached = 64

// attachedPrograms lists the ids of the device programs on the group itself.
func attachedPrograms(dir int) ([]uint32, error) {
	ids := make([]uint32, maxAttached)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	var a bpfAttr
	*a.u32(0) = uint32(dir)
	*a.u32(4) = unix.BPF_CGROUP_DEVICE
	a.ptr(16, unsafe.Pointer(&ids[0]))
	*a.u32(24) = uint32(len(ids))
	if _, err := bpf(unix.BPF_PROG_QUERY, &a); err != nil {
		return nil, err
	}
	return ids[:min(int(*a.u32(24)), len(ids))], nil
}

// replacePrograms puts prog in the place of the old ones, such that at no
// moment fewer rules are in force than before or after: a single old program
// is replaced in one step (BPF_F_REPLACE, Linux 5.6), of several each goes
// after prog has come.
func replacePrograms(dir, prog int, old []uint32) error {
	if len(old) == 1 {
		if fd, err := programByID(old[0]); err == nil {
			defer unix.Close(fd)
			return attachProgram(dir, prog, unix.BPF_F_ALLOW_MULTI|unix.BPF_F_REPLACE, fd)
		}
	}
	if err := attachProgram(dir, prog, unix.BPF_F_ALLOW_MULTI, 0); err != nil {
		return err
	}
	for _, id := range old {
		fd, err := programByID(id)
		if err != nil {
			continue // detached by whoever attached it
		}
		err = detachProgram(dir, fd)
		_ = unix.Close(fd)
		if err != nil && err != unix.ENOENT {
			return err
		}
	}
	return nil
}

func attachProgram(dir, prog int, flags uint32, replace int) error {
	var a bpfAttr
	*a.u32(0) = uint32(dir)
	*a.u32(4) = uint32(prog)
	*a.u32(8) = unix.BPF_CGROUP_DEVICE
	*a.u32(12) = flags
	*a.u32(16) = uint32(replace)
	_, err := bpf(unix.BPF_PROG_ATTACH, &a)
	return err
}

func detachProgram(dir, prog int) error {
	var a bpfAttr
	*a.u32(0) = uint32(dir)
	*a.u32(4) = uint32(prog)
	*a.u32(8) = unix.BPF_CGROUP_DEVICE
	_, err := bpf(unix.BPF_PROG_DETACH, &a)
	return err
}

func programByID(id uint32) (int, error) {
	var a bpfAttr
	*a.u32(0) = id
	return bpf(unix.BPF_PROG_GET_FD_BY_ID, &a)
}
