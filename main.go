// Command berth is an OCI container runtime.
package main

import (
	"os"

	"berth/cli"
	_ "berth/nsenter/prefault"
)

func main() { os.Exit(cli.Main(os.Args)) }
