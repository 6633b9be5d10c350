// Package unpack makes a layer a directory that overlayfs takes as a lower one, and compares such a directory with its
// layer.
//
// A tree of names decides what each member means, without asking the disk; acting on it takes one system call relative
// to an open directory per change, never a path. No name of a member is ever walked by the kernel, so nothing outside of
// the directory can be reached. Directories get their metadata, whiteouts and opaque marks at the end, from the leaves
// up, when nothing changes them any more.
package unpack
