package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sweep removes what a failed or interrupted measurement of the contender left: processes, cgroups, state.
// It goes by the names that only this run uses and does not rely on the contender.
func (b *bench) sweep(d contender) {
	c := b.container(d, "plain")
	for _, id := range []string{c.id, b.container(d, "joined").id} {
		for _, pid := range groupPids(b.view, id) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for _, dir := range b.view.groupDirs(id) {
			removeGroup(dir)
		}
	}
	delete(b.joined, d.name)
	reapLeftovers()
	_ = os.RemoveAll(c.root)
	_ = os.Remove(c.pidFile)
	_ = os.MkdirAll(c.root, 0o700)
}

// removeGroup removes a cgroup whose last processes may still be dying.
func removeGroup(dir string) {
	for range 500 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		reapLeftovers()
		time.Sleep(10 * time.Millisecond)
	}
}
