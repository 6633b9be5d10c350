// Command berth-layer keeps OCI image layers and builds bundles from them.
package main

import (
	"os"

	"berth/rootfs/cmd/command"
)

func main() { os.Exit(command.Main(os.Args)) }
