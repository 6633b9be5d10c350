package seccomp

// The binding asks libseccomp for its API level when the program starts, and
// libseccomp asks the kernel with a dozen system calls: a tenth of a
// millisecond of every start, for containers without a profile too. Numbers of
// system calls, which are all that is wanted of it, do not depend on the
// answer.

// #cgo LDFLAGS: -Wl,--wrap=seccomp_api_get
//
// unsigned int __wrap_seccomp_api_get(void) { return 0; }
import "C"
