package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// variable tells a program how it was started: in a namespace without ids yet ("waits"), by the process whose number it
// is, or in some way below such a program ("inside").
const (
	variable = "_BERTH_LAYER_USERNS"
	waits    = "waits"
	inside   = "inside"
)

// Entered tells whether this process is root in a namespace that Enter has made.
func Entered() bool { return os.Getenv(variable) != "" && os.Geteuid() == 0 }

// Begin is to be called first of all in a program that Enter starts again: it waits for the namespace's ids. Elsewhere
// it does nothing.
func Begin() {
	switch v := os.Getenv(variable); v {
	case "", inside:
	case waits:
		// Only a program that is started as root has root's capabilities, so it is started once more.
		if n, _ := os.NewFile(3, "maps").Read(make([]byte, 1)); n == 1 {
			unix.CloseOnExec(3)
			os.Setenv(variable, strconv.Itoa(os.Getppid()))
			err := unix.Exec("/proc/self/exe", os.Args, os.Environ())
			fmt.Fprintln(os.Stderr, "berth-layer:", err)
		}
		os.Exit(1)
	default:
		os.Setenv(variable, inside)
		if endWithParent() != nil || strconv.Itoa(os.Getppid()) != v {
			os.Exit(1) // who has started it is gone
		}
	}
}

// endWithParent has this process get SIGTERM when its parent ends (PR_SET_PDEATHSIG(2const)). It is of the thread, which
// Go keeps.
func endWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
}

// Exec runs a program in the place of this one, which Enter may have started.
func Exec(path string, argv []string) error {
	runtime.LockOSThread() // exec keeps this thread only, and what is of it
	defer runtime.UnlockOSThread()
	if Entered() {
		if err := endWithParent(); err != nil {
			return err
		}
	}
	return &os.PathError{Op: "exec", Path: path, Err: unix.Exec(path, argv, os.Environ())}
}

// Enter runs this program again with args, the first of which is its name, as root of a new user namespace with a mount
// namespace, and env in addition. It returns with the status to exit with; where the program was killed by a signal, this
// process is too. Signals pass through.
func Enter(m Mapping, args, env []string) (status int, err error) {
	// The child's death signal is bound to the thread that makes it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer w.Close()
	child := &exec.Cmd{
		Path: "/proc/self/exe", Args: args, Env: append(append(os.Environ(), env...), variable+"="+waits),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{r},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS},
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passed()...)
	defer signal.Stop(signals)
	err = child.Start()
	r.Close()
	if err != nil {
		return 0, forbidden(err)
	}
	if err := m.write(child.Process.Pid); err != nil {
		w.Close()
		child.Wait()
		return 0, err
	}
	if _, err := w.Write([]byte{0}); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go pass(signals, child.Process, ended)
	return result(child.Wait())
}

// forbidden explains why there is no user namespace (user_namespaces(7), "ERRORS").
func forbidden(err error) error {
	e := fault.From(err, "make a user namespace", "")
	switch e.Errno {
	case unix.EPERM, unix.EACCES:
		e.Hint = "this machine keeps them from ordinary users: see sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns"
	case unix.ENOSPC, unix.EUSERS:
		e.Hint = "there may be no more of them: see sysctl user.max_user_namespaces"
	}
	return e
}

// passed are the signals that people send programs, but for those that this program is to ignore.
func passed() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// pass passes signals on. Those of a terminal reach the whole foreground group: the child has them already.
func pass(signals <-chan os.Signal, child *os.Process, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			if (s == unix.SIGINT || s == unix.SIGQUIT || s == unix.SIGHUP) && inForeground() {
				continue
			}
			_ = child.Signal(s) // it may have ended
		}
	}
}

func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// result is the status of what Wait returned.
func result(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
		signal.Reset(ws.Signal())
		_ = unix.Kill(os.Getpid(), ws.Signal())
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// write gives the namespace of a process its ids: one of each an ordinary user may map himself, more newuidmap(1) and
// newgidmap(1) map for him.
func (m Mapping) write(pid int) error {
	if m.Single() {
		// Without it no group may be mapped (user_namespaces(7), CVE-2014-8989).
		return errors.Join(writeProc(pid, "setgroups", "deny"), writeProc(pid, "uid_map", text(m.UIDs, "\n")), writeProc(pid, "gid_map", text(m.GIDs, "\n")))
	}
	return errors.Join(uid.help(pid, m.UIDs), gid.help(pid, m.GIDs))
}

func writeProc(pid int, name, text string) error {
	path := fmt.Sprintf("/proc/%d/%s", pid, name)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fault.From(err, "map ids", path)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		return fault.From(err, "map ids", path)
	}
	return nil
}

func text(ids []specs.LinuxIDMapping, end string) string {
	var b strings.Builder
	for _, m := range ids {
		fmt.Fprintf(&b, "%d %d %d%s", m.ContainerID, m.HostID, m.Size, end)
	}
	return b.String()
}

// help has the set-user-ID program of shadow write a map.
func (k kind) help(pid int, ids []specs.LinuxIDMapping) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(text(ids, " "))...)
	said, err := exec.Command(k.tool(), args...).CombinedOutput()
	if err == nil {
		return nil
	}
	e := &fault.Error{Op: "map ids", Path: k.tool(), Err: err, Msg: strings.TrimSpace(string(said))}
	if errors.Is(err, exec.ErrNotFound) {
		e.Hint = "install it (Debian: package uidmap)"
	} else {
		e.Hint = "it has to be set-user-ID root or to have file capabilities, on a file system without nosuid, and does nothing under no_new_privs"
	}
	return e
}
