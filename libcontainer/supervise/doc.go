// Package supervise is what a runtime does besides making a container: it
// stays in front of one (`run`: terminal, signals, exit status), hands
// descriptors to a manager (console socket, pidfd socket, pid file), takes
// descriptors from it (socket activation, --preserve-fds), passes readiness on
// to systemd, and runs hooks and waits for them.
//
// A foreground `run` is these calls, in this order:
//
//	files, env, err := Preserved(n, os.Getenv)  // first of all, see there
//	signals := NewSignals()                     // from here on nothing is lost
//	SetSubreaper(true)
//	notify, err := NotifyProxy(os.Getenv("NOTIFY_SOCKET"), dir)
//	…                                           // create; init hands over its ptmx
//	tty, err := OpenTTY(ptmx, os.Stdin, os.Stdout, os.Stderr)
//	WritePidFile(path, pid)
//	…                                           // start: execve
//	status, err := Foreground(Options{…})
package supervise
