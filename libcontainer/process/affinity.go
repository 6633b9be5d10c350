package process

import (
	"runtime"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/nsenter"
)

// affinity is process.execCPUAffinity: the CPUs that a process which joins a
// container runs on before and after it is in the container's groups.
type affinity struct{ initial, final cpus }

// cpus is a list of CPUs, as given and as a mask.
type cpus struct {
	text string
	mask []uint64
}

// maxCPU keeps a mask below what the kernel could ever use (NR_CPUS).
const maxCPU = 8191

func planAffinity(c *specs.CPUAffinity) affinity {
	if c == nil {
		return affinity{}
	}
	read := func(list string) cpus { return cpus{list, parseList(list, maxCPU)} }
	return affinity{read(c.Initial), read(c.Final)}
}

// HasInitialCPUs tells whether SetInitialCPUs does anything: then the process
// must not be in its group before.
func (p *Plan) HasInitialCPUs() bool { return len(p.affinity.initial.mask) > 0 }

// SetInitialCPUs sets what execCPUAffinity.initial asks for, of a process that
// is not in the container's groups yet (sched_setaffinity(2)).
func (p *Plan) SetInitialCPUs(pid int) error {
	mask := p.affinity.initial.mask
	if len(mask) == 0 {
		return nil
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(pid), uintptr(8*len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	runtime.KeepAlive(mask)
	if errno != 0 {
		return outsideError(errno, opAffinity, p.affinity.initial.text, "/process/execCPUAffinity/initial")
	}
	return nil
}

const opAffinity = "sched_setaffinity"

// finalCPUs is for a process that is in its groups.
func (p *Plan) finalCPUs(b *nsenter.Builder) {
	if final := p.affinity.final; len(final.mask) > 0 {
		origin(b, "/process/execCPUAffinity/final", opAffinity, final.text)
		b.SchedSetaffinity(final.mask, final.text)
	}
}
