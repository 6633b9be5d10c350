package seccomp

// The binding asks libseccomp for its API level when the program starts, and
// libseccomp asks the kernel with a dozen system calls: a tenth of a
// millisecond of every start, for containers without a profile too. Numbers of
// system calls, which are all that is wanted of it, do not depend on the
// answer.

// #cgo LDFLAGS: -Wl,--wrap=seccomp_api_get
//
// unsigned int __wrap_seccomp_api_get(void) { return 0; }
//
// #include <stdarg.h>
// #include <stdio.h>
//
// #ifndef __GLIBC__
// // Debian's libseccomp.a is built for glibc; this is all that it wants of it.
// int __fprintf_chk(FILE *f, int flag, const char *format, ...)
// {
// 	va_list list;
//
// 	(void)flag;
// 	va_start(list, format);
// 	int n = vfprintf(f, format, list);
// 	va_end(list);
// 	return n;
// }
// #endif
import "C"
