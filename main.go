// Command berth is an OCI container runtime.
package main

import (
	"os"
	"runtime"

	"berth/cli"
	"berth/nsenter/prefault"
)

func main() {
	// Only this thread gets its processors and timer slack back, so whatever starts
	// processes stays on it.
	runtime.LockOSThread()
	prefault.Done()
	os.Exit(cli.Main(os.Args))
}
