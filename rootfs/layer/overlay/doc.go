// Package overlay puts layers together: into a mounted overlay, and into the
// answer to what a path is and which layer it comes from, without a mount.
//
//	Tree   one layer: what it says of a path
//	Stack  trees, merged as the kernel merges them: Lookup, Why
//	Parents  directories that a layer never lists, with the metadata that they have to show
//	Open, Mount, Unmount  the overlay itself
//	Scratch  an upper directory of limited size
package overlay
