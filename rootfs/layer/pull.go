package layer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport"
)

// PullOptions say how to pull.
type PullOptions struct {
	Name     string           // what the image is called from now on
	Platform ocispec.Platform // of an index
	Backend  Backend
	Jobs     int // layers at once; 0 is as many as there are processors, but at least 3
	Limits   Limits
	Progress Progress
}

// Limits are what a layer may be at most; 0 is no limit.
type Limits struct {
	Size    int64 // bytes of a layer's tar
	Ratio   int64 // how many times as large as its blob the tar may be
	Entries int64 // members of a layer
}

// Pulled is what a pull did.
type Pulled struct {
	Image *Image
	// Layers say what became of each, from the bottom up: all but Sent.
	Layers []Outcome
}

// Outcome is what became of one layer or, of a push, blob.
type Outcome string

const (
	Exists   Outcome = "exists"   // blob and unpacked layer were here
	Fetched  Outcome = "fetched"  // the layer was here, but from another blob
	Unpacked Outcome = "unpacked" // its blob was here
	Added    Outcome = "pulled"   // fetched and unpacked
	Sent     Outcome = "sent"     // by a push
)

// Pull brings the image of src into the store and names it. Layers that are here are not fetched. It may be interrupted at
// any time: what was fetched is resumed by the next pull, and the name is given when everything it needs will last.
func (s *Store) Pull(ctx context.Context, src transport.Source, o PullOptions) (*Pulled, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	o.Name = withTag(o.Name)
	held, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer held.free()

	p, err := s.newPull(ctx, src, o)
	if err != nil {
		return nil, err
	}
	if err := p.layers(ctx); err != nil {
		return nil, err
	}
	if _, err := s.writeBlob(p.image.Manifest.Config.MediaType, p.config); err != nil {
		return nil, err
	}
	if _, err := s.writeBlob(p.image.Descriptor.MediaType, p.manifest); err != nil {
		return nil, err
	}
	err = s.changeIndex(ctx, func(x *ocispec.Index) error {
		setTag(x, o.Name, p.image.Descriptor)
		return nil
	})
	return &Pulled{p.image, p.done}, err
}

// pull is one image on its way into the store.
type pull struct {
	s        *Store
	src      transport.Source
	o        PullOptions
	image    *Image
	manifest []byte
	config   []byte
	done     []Outcome
	finisher finisher
	unpacker unpacker
}

// newPull fetches and checks the documents of the image.
func (s *Store) newPull(ctx context.Context, src transport.Source, o PullOptions) (*pull, error) {
	found, err := transport.Resolve(ctx, src, o.Platform)
	if err != nil {
		return nil, err
	}
	d, manifest := found.Descriptor, found.Raw
	m, err := parseManifest(manifest, d)
	if err != nil {
		return nil, err
	}
	if m.Config.Size > maxDocument {
		return nil, &fault.Error{Op: "fetch the configuration", Path: m.Config.Digest.String(), Msg: fmt.Sprintf("it has %d bytes, %d are allowed", m.Config.Size, maxDocument)}
	}
	config, err := transport.Config(ctx, src, found.Manifest)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(config, &m)
	if err != nil {
		return nil, err
	}
	u, err := s.unpacker(o.Backend, o.Limits)
	if err != nil {
		return nil, err
	}
	d.Annotations, d.URLs, d.Data = nil, nil, nil
	return &pull{
		s: s, src: src, o: o, manifest: manifest, config: config, unpacker: u,
		image:    &Image{Descriptor: d, Manifest: m, Config: c, Names: []string{o.Name}},
		done:     make([]Outcome, len(m.Layers)),
		finisher: finisher{s: s},
	}, nil
}

// layers brings all layers in, some at once. One that an image has twice is brought once.
func (p *pull) layers(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	jobs := p.o.Jobs
	if jobs <= 0 {
		jobs = max(3, runtime.GOMAXPROCS(0)) // some wait for the network
	}
	group.SetLimit(jobs)
	first := map[digest.Digest]int{}
	for n, d := range p.image.Manifest.Layers {
		diffID := p.image.DiffIDs()[n]
		if _, twice := first[diffID]; twice {
			continue
		}
		first[diffID] = n
		group.Go(func() (err error) {
			p.done[n], err = p.layer(ctx, d, diffID)
			if err != nil {
				e := *fault.From(err, "pull", "")
				e.Op = fmt.Sprintf("layer %d of %d: %s", n+1, len(p.image.Manifest.Layers), e.Op)
				return &e
			}
			return nil
		})
	}
	err := group.Wait()
	for n, diffID := range p.image.DiffIDs() {
		if first[diffID] != n {
			p.done[n] = Exists
		}
	}
	return err
}

// layer brings in one layer: its blob, and what is unpacked from it on the way.
func (p *pull) layer(ctx context.Context, d ocispec.Descriptor, diffID digest.Digest) (Outcome, error) {
	held, err := p.s.lockName(ctx, diffID.Encoded())
	if err != nil {
		return "", err
	}
	defer held.free()
	hasBlob, hasLayer := p.s.hasBlob(d), p.s.hasLayer(diffID)
	track := p.o.Progress.start(d)
	if hasBlob && hasLayer {
		track.End(Exists)
		return Exists, nil
	}
	resumed, err := p.bring(ctx, d, diffID, hasLayer, track)
	if err != nil && resumed { // what an earlier pull had fetched was wrong: once more, without it
		_, err = p.bring(ctx, d, diffID, hasLayer, track)
	}
	outcome := map[[2]bool]Outcome{{true, false}: Unpacked, {false, true}: Fetched, {false, false}: Added}[[2]bool{hasBlob, hasLayer}]
	if err == nil {
		track.End(outcome)
	}
	return outcome, err
}

// bring fetches what of a blob is not here and unpacks it. Retry is true where the error may be due to what an earlier
// pull had fetched, which is gone then.
func (p *pull) bring(ctx context.Context, d ocispec.Descriptor, diffID digest.Digest, hasLayer bool, track Track) (retry bool, err error) {
	in, err := p.open(ctx, d)
	if err != nil {
		return false, err
	}
	defer in.close()
	stage, err := p.s.stage()
	if err != nil {
		return false, err
	}
	defer stage.end()

	made := filepath.Join(stage.path, "layer")
	err = through(ctx, counted{in, track}, d, diffID, p.o.Limits, func(plain io.Reader) error {
		if hasLayer {
			_, err := io.Copy(io.Discard, plain)
			return err
		}
		if err := os.Mkdir(made, 0o755); err != nil {
			return err
		}
		_, err := unpackInto(ctx, p.unpacker, made, known(diffID), plain)
		return err
	})
	if err != nil {
		if !in.spoilt(ctx, err) {
			return false, err
		}
		in.forget()
		return in.kept > 0, err
	}
	var names []renaming
	if in.partial {
		names = append(names, renaming{from: in.path, to: p.s.blob(d.Digest)})
	}
	if !hasLayer {
		names = append(names, renaming{from: made, to: p.s.layer(diffID)})
	}
	return false, p.finisher.name(names...)
}
