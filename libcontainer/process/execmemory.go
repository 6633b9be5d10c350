package process

// What execve(2) takes of a container's memory for a small static program, in
// bytes: a new address space beside the old one, stack, page tables, and the
// first pages that the program writes to; and what it takes to be born besides.
// Measured on Linux 6.1 and 6.18 (tests/vm/lowest-memory).
const (
	execMemory  = 120 << 10
	birthMemory = 80 << 10
)

// ExecMemory is how much of the container's memory the process still needs, in
// bytes: one that the container is made with when it waits for its limits, one
// that joins before it is born.
func (p *Plan) ExecMemory() uint64 {
	if p == nil {
		return 0 // the container has no process
	}
	n := execMemory
	if p.joins {
		n += birthMemory
	}
	for _, list := range [][]string{p.args, p.env} {
		for _, s := range list {
			n += len(s) + 1 + 8 // and a pointer to it
		}
	}
	return uint64(n)
}
