// Package prefault makes the kernel provide the memory that every command is
// going to touch in a few calls, instead of in some 300 page faults. Under
// hypervisors that shadow page tables one fault costs tens of microseconds, so
// that they would be most of a command's time; elsewhere it saves a little.
//
// It has no Go code: linking it is enough.
package prefault

// #cgo CFLAGS: -Wall -Wextra -Werror -O2
// #cgo LDFLAGS: -Wl,--wrap=mmap
import "C"
