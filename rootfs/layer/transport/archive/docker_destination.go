package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/ref"
	"berth/rootfs/layer/transport/verify"
)

// DockerDestination is a docker-archive of one image that is being written. Layers are stored uncompressed and named by
// their diffIDs, as docker save does: every version of docker load takes that.
type DockerDestination struct {
	mu      sync.Mutex
	out     *writer
	name    string // for RepoTags; may be empty
	configs map[digest.Digest][]byte
	layers  map[digest.Digest]digest.Digest // of blobs the diffIDs
	image   *v1.Manifest
	root    digest.Digest
}

// CreateDocker begins a docker-archive. What the file was stays until Commit.
func CreateDocker(r ref.Ref) (*DockerDestination, error) {
	if r.Index > 0 {
		return nil, &fault.Error{Op: "create", Path: r.String(), Msg: "@N is for reading"}
	}
	out, err := create(r.Path)
	if err != nil {
		return nil, err
	}
	d := &DockerDestination{out: out, configs: map[digest.Digest][]byte{}, layers: map[digest.Digest]digest.Digest{}}
	if r.Name != "" {
		d.name = familiar(r.Name) + ":" + r.Tag
	}
	return d, nil
}

// familiar writes a name as docker shows it; load knows both forms, but only this one is found by docker images NAME.
func familiar(name string) string {
	if short, ok := strings.CutPrefix(name, ref.DefaultHost+"/"); ok {
		return strings.TrimPrefix(short, "library/")
	}
	return name
}

// PutBlob implements transport.Destination. What is no image config must be a layer.
func (d *DockerDestination) PutBlob(_ context.Context, desc v1.Descriptor, open func(int64) (io.ReadCloser, error)) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.layers[desc.Digest]; ok || d.configs[desc.Digest] != nil {
		return true, nil
	}
	from, err := open(0)
	if err != nil {
		return false, err
	}
	if manifest.OCIMediaType(desc.MediaType) == v1.MediaTypeImageConfig {
		d.configs[desc.Digest], err = verify.All(desc, from, manifest.MaxConfig)
		return false, err
	}
	defer from.Close()
	return false, d.layer(desc, from)
}

func (d *DockerDestination) layer(desc v1.Descriptor, from io.Reader) error {
	format, ok := strings.CutPrefix(manifest.OCIMediaType(desc.MediaType), v1.MediaTypeImageLayer)
	if !ok {
		return &fault.Error{Op: "write docker-archive", Path: string(desc.Digest), Msg: desc.MediaType + " is not the media type of a layer"}
	}
	return d.out.measured(func(to io.Writer) (string, int64, error) {
		plain, err := uncompress(from, strings.TrimPrefix(format, "+"))
		if err != nil {
			return "", 0, &fault.Error{Op: "uncompress", Path: string(desc.Digest), Err: err}
		}
		defer plain.Close()
		hash := digest.SHA256.Digester()
		size, err := io.Copy(io.MultiWriter(to, hash.Hash()), plain)
		d.layers[desc.Digest] = hash.Digest()
		return hash.Digest().Encoded() + ".tar", size, err
	})
}

// PutManifest implements transport.Destination. There is room for one image, and none for indexes.
func (d *DockerDestination) PutManifest(_ context.Context, desc v1.Descriptor, raw []byte) error {
	m, err := manifest.Image(raw, desc.MediaType)
	if err != nil {
		return &fault.Error{Op: "write docker-archive", Path: string(desc.Digest), Err: err, Hint: "choose one image of the index with --platform"}
	}
	d.image, d.root = m, desc.Digest
	return nil
}

// Commit writes the table of contents and gives the file its name.
func (d *DockerDestination) Commit(_ context.Context, root v1.Descriptor) error {
	if d.image == nil || d.root != root.Digest {
		return &fault.Error{Op: "write docker-archive", Path: string(root.Digest), Msg: "not the manifest that was put"}
	}
	config := d.configs[d.image.Config.Digest]
	it := item{Config: d.image.Config.Digest.Encoded() + ".json", RepoTags: []string{}, Layers: []string{}}
	if d.name != "" {
		it.RepoTags = append(it.RepoTags, d.name)
	}
	var diffIDs []digest.Digest
	for _, l := range d.image.Layers {
		diffID, ok := d.layers[l.Digest]
		if !ok {
			return &fault.Error{Op: "write docker-archive", Path: string(l.Digest), Msg: "the layer was not put", Err: fs.ErrNotExist}
		}
		diffIDs = append(diffIDs, diffID)
		it.Layers = append(it.Layers, diffID.Encoded()+".tar")
	}
	var image v1.Image
	if err := json.Unmarshal(config, &image); err != nil {
		return &fault.Error{Op: "read", Path: string(d.image.Config.Digest), Err: err}
	}
	if !slices.Equal(image.RootFS.DiffIDs, diffIDs) {
		return &fault.Error{Op: "write docker-archive", Path: string(root.Digest), Code: verify.Code,
			Msg: fmt.Sprintf("the config's diff_ids are %s, those of the layers %s", image.RootFS.DiffIDs, diffIDs)}
	}
	table, err := json.Marshal([]item{it})
	if err != nil {
		return err
	}
	if err := d.out.file(it.Config, config); err != nil {
		return err
	}
	if err := d.out.file(dockerManifest, table); err != nil {
		return err
	}
	return d.out.commit()
}

// Close takes the file back if it was not committed.
func (d *DockerDestination) Close() error {
	d.out.discard()
	return nil
}
