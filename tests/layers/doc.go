// Package layers drives berth-layer and berth as their users do (script/*.txtar). Below it is what says what layers of an
// image mean, and holds tools to it.
//
//	tree      the canonical listing of a file tree, as JSON, and how two differ
//	stack     the language in which layers are declared; declarations to tars and image layouts
//	flatten   the reference interpreter: tars to the tree that they mean
//	cases     what a layer can contain: some four hundred declarations, each with a word on what must be seen
//	corpus    go run ./tests/layers/corpus DIR writes them as image layouts with their trees, for any tool
//	matrix    make layers-matrix runs them through the tools that are installed
//	disk      a disk that remembers its writes, for power cuts
//	fuzz      random stacks through the backends and the kernel's overlayfs, failures made small
//
// A few thousand stacks are a part of make test. More of them, from another number on:
//
//	BERTH_LAYERS_STACKS=100000 BERTH_LAYERS_FIRST=5000 go test -timeout 2h -v -run TestDirectories ./tests/layers/fuzz
//
// Stores are killed, cut off from power, filled up and fought over by ten processes too; of the first two there may be more:
//
//	BERTH_KILLS=1000 BERTH_CUTS=600 go test -timeout 2h -v -run 'TestKilled|TestPowerCut' ./tests/layers
package layers
