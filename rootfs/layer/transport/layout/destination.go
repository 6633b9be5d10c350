package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/files"
	"berth/rootfs/layer/transport/verify"
)

// Destination is a layout to which one image is added.
type Destination struct {
	dir, tag string
}

// Create makes dir a layout if it is none, and begins to add an image, tag if it is not empty. A directory with other
// things in it is refused.
func Create(dir, tag string) (*Destination, error) {
	if err := prepare(dir); err != nil {
		return nil, err
	}
	return &Destination{dir, tag}, nil
}

func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.From(err, "create", dir)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	files.Sweep(dir)
	files.Sweep(filepath.Join(dir, v1.ImageBlobsDir, string(digest.SHA256)))
	head := filepath.Join(dir, v1.ImageLayoutFile)
	if _, err := os.Stat(head); err != nil {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			return &fault.Error{Op: "create layout", Path: dir, Msg: "a directory that has other things than an image layout", Err: err}
		}
		if err := files.Write(head, bytes.NewReader(Head())); err != nil {
			return err
		}
	}
	_, err = readIndex(files.Dir(dir)) // what cannot be read would be lost
	if files.Missing(err) {
		err = writeIndex(dir, &v1.Index{Manifests: []v1.Descriptor{}})
	}
	return err
}

// Head returns the content of the file oci-layout.
func Head() []byte { return []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`) }

// lock keeps everyone else who locks the directory (flock(2)) out until the returned function is called.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fault.From(err, "open", dir)
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fault.From(err, "lock", dir)
	}
	return func() { f.Close() }, nil
}

// Index returns x as index.json has it, with version and media type.
func Index(x *v1.Index) ([]byte, error) {
	x.Versioned = specs.Versioned{SchemaVersion: 2}
	x.MediaType = v1.MediaTypeImageIndex
	return json.Marshal(x)
}

func writeIndex(dir string, x *v1.Index) error {
	raw, err := Index(x)
	if err != nil {
		return err
	}
	return files.Write(filepath.Join(dir, v1.ImageIndexFile), bytes.NewReader(raw))
}

// PutBlob implements transport.Destination.
func (d *Destination) PutBlob(_ context.Context, desc v1.Descriptor, open func(int64) (io.ReadCloser, error)) (bool, error) {
	path := filepath.Join(d.dir, filepath.FromSlash(BlobPath(desc.Digest)))
	if has(path, desc) {
		return true, nil
	}
	from, err := open(0)
	if err != nil {
		return false, err
	}
	defer from.Close()
	return false, d.write(path, from)
}

// has says whether path is a file of what desc says. It is read: other tools sync nothing, and what a power cut left
// would stay for ever.
func has(path string, desc v1.Descriptor) bool {
	f, err := files.Open(path)
	if err != nil {
		return false
	}
	r := verify.Reader(desc, f)
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err == nil
}

func (d *Destination) write(path string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fault.From(err, "create", filepath.Dir(path))
	}
	return files.Write(path, from)
}

// PutManifest implements transport.Destination.
func (d *Destination) PutManifest(_ context.Context, desc v1.Descriptor, raw []byte) error {
	return d.write(filepath.Join(d.dir, filepath.FromSlash(BlobPath(desc.Digest))), bytes.NewReader(raw))
}

// Commit puts root into index.json, in the place of what had the tag; all else there stays as it is.
func (d *Destination) Commit(_ context.Context, root v1.Descriptor) error {
	unlock, err := lock(d.dir)
	if err != nil {
		return err
	}
	defer unlock()
	x, err := readIndex(files.Dir(d.dir))
	if err != nil {
		return err
	}
	x.Manifests = slices.DeleteFunc(x.Manifests, func(old v1.Descriptor) bool {
		return old.Annotations[v1.AnnotationRefName] == d.tag && (d.tag != "" || old.Digest == root.Digest)
	})
	x.Manifests = append(x.Manifests, Entry(root, d.tag))
	return writeIndex(d.dir, x)
}

// Entry returns what index.json says of root as the image tag.
func Entry(root v1.Descriptor, tag string) v1.Descriptor {
	entry := v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size, Platform: root.Platform}
	if tag != "" {
		entry.Annotations = map[string]string{v1.AnnotationRefName: tag}
	}
	return entry
}

// Close does nothing: blobs that were not committed harm nobody.
func (d *Destination) Close() error { return nil }

// DirDestination is a dir: that is being made.
type DirDestination struct {
	dir string
	raw map[digest.Digest][]byte
}

// CreateDir begins a dir:. The directory must be empty, or a dir: already, which is written over.
func CreateDir(dir string) (*DirDestination, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.From(err, "create", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.From(err, "read", dir)
	}
	version, err := os.ReadFile(filepath.Join(dir, dirVersion))
	if len(entries) > 0 && (err != nil || !bytes.HasPrefix(version, []byte("Directory Transport Version: "))) {
		return nil, &fault.Error{Op: "create", Path: dir, Msg: "a directory that has other things than an image of dir:"}
	}
	for _, e := range entries { // what is there must not be taken for the new image
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, fault.From(err, "remove", e.Name())
		}
	}
	d := &DirDestination{dir: dir, raw: map[digest.Digest][]byte{}}
	return d, d.write(dirVersion, bytes.NewReader([]byte(dirVersion1)))
}

func (d *DirDestination) write(name string, from io.Reader) error {
	return files.Write(filepath.Join(d.dir, name), from)
}

// PutBlob implements transport.Destination.
func (d *DirDestination) PutBlob(_ context.Context, desc v1.Descriptor, open func(int64) (io.ReadCloser, error)) (bool, error) {
	from, err := open(0)
	if err != nil {
		return false, err
	}
	defer from.Close()
	if desc.Digest.Algorithm() != digest.SHA256 {
		if err := d.write(dirVersion, bytes.NewReader([]byte(dirVersion2))); err != nil {
			return false, err
		}
	}
	return false, d.write(dirName(desc.Digest), from)
}

// PutManifest implements transport.Destination.
func (d *DirDestination) PutManifest(_ context.Context, desc v1.Descriptor, raw []byte) error {
	d.raw[desc.Digest] = raw
	return nil
}

// Commit writes the manifests: root is manifest.json, the others are named by their digests.
func (d *DirDestination) Commit(_ context.Context, root v1.Descriptor) error {
	for sum, raw := range d.raw {
		if sum == root.Digest {
			continue
		}
		if err := d.write(dirName(sum)+"."+dirManifest, bytes.NewReader(raw)); err != nil {
			return err
		}
	}
	return d.write(dirManifest, bytes.NewReader(d.raw[root.Digest]))
}

// Close does nothing.
func (d *DirDestination) Close() error { return nil }
