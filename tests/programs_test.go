package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// programs are commands of scripts that are processes of their own: they can stand in the background and inside one
// another.
//
//	rt ARGS…               the runtime, with --root $WORK/state and the cgroup file systems of $VIEW. create and
//	                       run and restore --detach give the container /dev/null, $WORK/ID.out and $WORK/ID.err for its stdio;
//	                       exec --detach gives the process $WORK/exec.out and $WORK/exec.err
//	user ARGS…             rt for an ordinary user: nobody, where the script is root's. XDG_RUNTIME_DIR is $WORK/run, where
//	                       the containers are, and ID.out and the like. user --command COMMAND… runs something else
//	status N COMMAND…      succeeds where the command ends with status N
//	pty FILE COMMAND…      runs the command on a terminal and does with it what the file says (see runPTY)
//	console SOCKET [FILE]  takes what --console-socket sends, and talks to the terminal as pty does
//	pidfd SOCKET           takes what --pidfd-socket sends, prints the payload and the process's pid
//	manager SOCKET LAST    a service manager's end of sd_notify(3): prints what is said at the socket, until it is LAST
func programs() map[string]func() {
	return map[string]func(){
		"rt":      program(runRuntime),
		"status":  program(runStatus),
		"user":    program(runUser),
		"pty":     program(runPTY),
		"console": program(runConsole),
		"pidfd":   program(runPidfd),
		"manager": program(runManager),
	}
}

// program ends with the status of a command that failed, or 1 and a message.
func program(run func(args []string) error) func() {
	return func() {
		err := run(os.Args[1:])
		var status *exec.ExitError
		switch {
		case err == nil:
			os.Exit(0)
		case errors.As(err, &status):
			os.Exit(exitStatus(status.ProcessState))
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}

// exitStatus is a status as a shell has it.
func exitStatus(p *os.ProcessState) int {
	if ws := p.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// runRuntime becomes tests/rt in the view. Scripts without a view have tests/rt itself, first on their PATH.
func runRuntime(args []string) error {
	// The mount namespace of a view is this thread's.
	runtime.LockOSThread()
	if err := enterView(os.Getenv("VIEW")); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return callRuntime(args)
}

func callRuntime(args []string) error {
	return unix.Exec(os.Getenv("RT"), append([]string{"rt"}, args...), os.Environ())
}

// enterView makes this thread's cgroup file systems look like those of a machine with one version only.
func enterView(view string) error {
	if view == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	switch view {
	case "v1":
		return unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH)
	case "v2":
		return unix.Mount("/sys/fs/cgroup/unified", "/sys/fs/cgroup", "", unix.MS_BIND, "")
	}
	return fmt.Errorf("%q is not v1 or v2", view)
}

func runStatus(args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	passSignals(cmd)
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return err
	}
	if got := exitStatus(cmd.ProcessState); got != want {
		return fmt.Errorf("%s ended with status %d, not %d", strings.Join(args[1:], " "), got, want)
	}
	return nil
}

// passSignals hands on what a script's kill command sends.
func passSignals(cmd *exec.Cmd) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range c {
			if cmd.Process != nil {
				cmd.Process.Signal(s)
			}
		}
	}()
}
