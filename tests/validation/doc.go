// Validation runs the validation programs of opencontainers/runtime-tools, as they are, against a runtime binary and
// compares each verdict with the list in expect.txt.
//
//	go run ./tests/validation                       # bin/berth, every view, one line a program that differs
//	go run ./tests/validation -v -run 'linux_ns' -views v1
//	go run ./tests/validation -runtime runc         # a peer, compared with its own column
//	go run ./tests/validation -runtime crun -update # rewrite that column
//
// The programs come from the nested module in suite/, so that nothing of them becomes a requirement of berth. Each runs in
// a mount namespace of its own, in one of three views of the cgroup hierarchy, and under a keeper (keeper.go) that ends
// whatever the program leaves running.
package main
