// Package layer keeps OCI image layers content-addressed and builds the overlay root file system of a bundle from them.
//
// A Store is a directory. It is an OCI image layout (any tool can read it) with, beside the blobs, each layer unpacked
// once under its diffID, whatever image it belongs to and wherever it stands in it. Layers are unpacked without looking
// at other layers, so the order does not matter; overlayfs puts them together.
//
//	transport ──Source──▶ blob (digest, decompress, diffID) ──▶ member (what a tar says) ──▶ Backend (unpack | erofs)
//	bundle: upper ──▶ diff ──▶ member ──▶ blob ──▶ transport Destination
//
// What is complete is what has its name: everything is made in a staging directory, synced and renamed, tags last.
// Nothing counts references; what no tag and no bundle needs is garbage, and Prune finds it.
package layer
