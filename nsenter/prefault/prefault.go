// Package prefault makes the kernel provide the memory that every command is
// going to touch in two calls, instead of in some 270 page faults. Under
// hypervisors that shadow page tables one fault costs tens of microseconds, so
// that they would be most of a command's time; elsewhere it saves a little.
//
// It must be initialised before the packages that allocate: it imports none.
package prefault

// #cgo CFLAGS: -Wall -Wextra -Werror -O2
// #include "prefault.h"
import "C"

import "unsafe"

// heap is what `run` of an ordinary container touches of the Go heap, bytes.
const heap = 1200 << 10

// first is among the first objects of the heap, which grows upwards from it.
var first *[64]byte

func init() {
	first = new([64]byte)
	C.prefault_heap(unsafe.Pointer(first), heap)
}
