package layer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/blob"
	"berth/rootfs/layer/diff"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/layer/transport/manifest"
)

// CommitOptions say what image to make of a bundle.
type CommitOptions struct {
	Name        string
	Author      string
	Message     string
	Changes     []string         // of the configuration: lines of a Dockerfile
	Compression blob.Compression // Gzip, Zstd or Plain
	// Created is the image's time; now if zero. With Clamp nothing in the layer is newer: SOURCE_DATE_EPOCH.
	Created time.Time
	Clamp   bool
}

// Committed is the image that a commit made.
type Committed struct {
	ID      digest.Digest `json:"id"`
	Digest  digest.Digest `json:"digest"` // of the manifest
	DiffID  digest.Digest `json:"diffID"` // of the new layer; empty where nothing was changed
	Changes int           `json:"changes"`
	Size    int64         `json:"size"` // of the layer's blob, in bytes
}

// Commit makes a layer of what a bundle has changed and an image of it, on top of the bundle's own image. It reads the
// upper directory only, and what that covers. The same changes make the same layer.
func (s *Store) Commit(ctx context.Context, bundle string, o CommitOptions) (*Committed, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	held, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer held.free()
	b, mine, err := s.lockBundle(ctx, bundle) // half of one that goes is no image
	if err != nil {
		return nil, err
	}
	defer mine.free()
	i, err := s.image(b.Manifest)
	if err != nil {
		return nil, err
	}
	if err := changeConfig(&i.Config, o.Changes); err != nil {
		return nil, err
	}
	out := &Committed{}
	if err := s.commitLayer(ctx, b, i, o, out); err != nil {
		return nil, err
	}
	return out, s.commitImage(ctx, i, o, out)
}

// commitLayer writes the changes as a layer, unpacks it from the same stream, and adds it to the image. No change is no
// layer.
func (s *Store) commitLayer(ctx context.Context, b *Bundle, i *Image, o CommitOptions, out *Committed) error {
	var options diff.Options
	if o.Clamp {
		options.Epoch = o.Created
	}
	changes, done, err := s.changes(b, options)
	if err != nil {
		return err
	}
	defer done()
	changes = slices.DeleteFunc(changes, func(c diff.Change) bool { return c.Member.Path == "" && c.Parent })
	if len(changes) == 0 {
		return nil
	}
	for _, c := range changes {
		if !c.Parent {
			out.Changes++
		}
	}
	upper, err := overlay.OpenDir(s.upper(b.ID), !initialUserNS())
	if err != nil {
		return err
	}
	defer upper.Close()
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer stage.end()
	w := &layerWriter{s: s, dir: stage.path, compression: o.Compression}
	sums, err := w.write(ctx, func(m *member.Writer) error { return diff.Write(upper, changes, m) })
	if err != nil {
		return err
	}
	d := ocispec.Descriptor{MediaType: mediaTypes[o.Compression], Digest: digest.Digest(sums.Digest), Size: sums.Size}
	out.DiffID, out.Size = digest.Digest(sums.DiffID), sums.Size
	i.tellOfLayers()
	i.Manifest.Layers = append(i.Manifest.Layers, d)
	i.Config.RootFS.DiffIDs = append(i.Config.RootFS.DiffIDs, out.DiffID)
	return w.keep(d, out.DiffID)
}

// tellOfLayers gives each layer a step in the history: where some have none, a new layer's step would be taken for theirs.
func (i *Image) tellOfLayers() {
	steps := i.history()
	if len(steps) == len(i.Config.History) {
		return
	}
	i.Config.History = nil
	for _, step := range steps {
		i.Config.History = append(i.Config.History, step.History)
	}
}

// layerWriter makes a blob and the layer of it in a staging directory.
type layerWriter struct {
	s           *Store
	dir         string
	compression blob.Compression
}

func (w *layerWriter) blob() string  { return filepath.Join(w.dir, "blob") }
func (w *layerWriter) layer() string { return filepath.Join(w.dir, "layer") }

// write has members written, and makes of the one stream the blob and the unpacked layer.
func (w *layerWriter) write(ctx context.Context, members func(*member.Writer) error) (blob.Sums, error) {
	file, err := os.OpenFile(w.blob(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return blob.Sums{}, err
	}
	defer file.Close()
	packed, err := blob.NewWriter(file, w.compression, 0)
	if err != nil {
		return blob.Sums{}, err
	}
	var sums blob.Sums
	r, pipe := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := w.unpack(ctx, r, func() digest.Digest { return digest.Digest(sums.DiffID) }) // at the end of r it is known
		r.CloseWithError(err)
		unpacked <- err
	}()
	tar := member.NewWriter(io.MultiWriter(packed, pipe))
	if err = errors.Join(members(tar), tar.Close(), packed.Close()); err == nil {
		sums, err = packed.Sums()
	}
	pipe.CloseWithError(err)
	if other := <-unpacked; err == nil || errors.Is(err, other) {
		err = other
	}
	return sums, err
}

func (w *layerWriter) unpack(ctx context.Context, r io.Reader, diffID func() digest.Digest) error {
	u, err := w.s.unpacker(Auto, Limits{})
	if err != nil {
		return err
	}
	if err := os.Mkdir(w.layer(), 0o755); err != nil {
		return err
	}
	_, err = unpackInto(ctx, u, w.layer(), diffID, r)
	return err
}

// mediaTypes are those of layers by how they are compressed.
var mediaTypes = map[blob.Compression]string{
	blob.Plain: ocispec.MediaTypeImageLayer, blob.Gzip: ocispec.MediaTypeImageLayerGzip, blob.Zstd: ocispec.MediaTypeImageLayerZstd,
}

// keep gives blob and layer their names, as far as they are not there.
func (w *layerWriter) keep(d ocispec.Descriptor, diffID digest.Digest) error {
	var names []renaming
	if !w.s.hasBlob(d) {
		names = append(names, renaming{w.blob(), w.s.blob(d.Digest)})
	}
	if !w.s.hasLayer(diffID) {
		names = append(names, renaming{w.layer(), w.s.layer(diffID)})
	}
	if len(names) == 0 {
		return nil
	}
	f := finisher{s: w.s}
	return f.name(names...)
}

// commitImage writes configuration and manifest, and names the image.
func (s *Store) commitImage(ctx context.Context, i *Image, o CommitOptions, out *Committed) error {
	created := o.Created
	if created.IsZero() {
		created = time.Now().UTC()
	}
	i.Config.Created = &created
	if o.Author != "" {
		i.Config.Author = o.Author
	}
	i.Config.History = append(i.Config.History, ocispec.History{
		Created: &created, CreatedBy: "berth-layer commit", Author: o.Author, Comment: o.Message, EmptyLayer: out.DiffID == "",
	})
	config, err := json.Marshal(i.Config)
	if err != nil {
		return err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	if m.Config, err = s.writeBlob(ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	m.Layers = manifest.ToOCI(i.Manifest).Layers
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	d, err := s.writeBlob(ocispec.MediaTypeImageManifest, raw)
	if err != nil {
		return err
	}
	out.ID, out.Digest = m.Config.Digest, d.Digest
	return s.changeIndex(ctx, func(x *ocispec.Index) error {
		setTag(x, withTag(o.Name), d)
		return nil
	})
}

// badChange is a line of --change that nobody understands.
func badChange(line, why string) error {
	return &fault.Error{Op: "change the configuration", Path: line, Msg: why, Hint: "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"}
}
