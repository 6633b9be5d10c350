package seccomp

// The binding asks libseccomp for its API level when the program starts, and
// libseccomp asks the kernel with a dozen system calls: a tenth of a
// millisecond of every start, for containers without a profile too. libseccomp
// has set itself up when it is first used since 2.5, so the question is
// answered only after Compile began.

// #cgo LDFLAGS: -Wl,--wrap=seccomp_api_get
//
// unsigned int __real_seccomp_api_get(void);
// static int in_use;
//
// unsigned int __wrap_seccomp_api_get(void)
// {
//	return in_use ? __real_seccomp_api_get() : 0;
// }
//
// static void use(void) { in_use = 1; }
import "C"

// use lets libseccomp ask the kernel.
func use() { C.use() }
