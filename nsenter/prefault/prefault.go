// Package prefault makes the start of a command cheap, before the Go runtime
// starts: see prefault.c.
//
//   - The kernel provides the memory that every command is going to touch in a
//     few calls, instead of in some 300 page faults. Under hypervisors that
//     shadow page tables one fault costs tens of microseconds, so that they
//     would be most of a command's time; elsewhere it saves a little.
//   - The runtime starts on one processor, so that it starts no threads for
//     others that have nothing to do yet, and its monitor, which polls, sleeps
//     longer.
package prefault

// #cgo CFLAGS: -Wall -Wextra -Werror -O2
// #cgo LDFLAGS: -Wl,--wrap=mmap
// #include "prefault.h"
import "C"

// Done gives the calling thread its processors and its timer slack back: what it
// starts from then on inherits them. The main goroutine must be locked to its
// thread.
func Done() { C.prefault_undo() }
