package layer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
)

// emptyIndex is the index.json of a store without images.
func emptyIndex() *ocispec.Index {
	return &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
}

// index reads index.json: an entry for each name, and for each image without one.
func (s *Store) index() (*ocispec.Index, error) {
	data, err := os.ReadFile(s.path("index.json"))
	if err != nil {
		return nil, err
	}
	x := emptyIndex()
	if err := json.Unmarshal(data, x); err != nil {
		return nil, &fault.Error{Op: "read", Path: s.path("index.json"), Err: err, Hint: "berth-layer fsck --repair finds the images again"}
	}
	return x, nil
}

func (s *Store) writeIndex(x *ocispec.Index) error {
	data, err := encode(x)
	if err != nil {
		return err
	}
	return s.writeFile("index.json", data)
}

// changeIndex carries out one change of index.json, alone.
func (s *Store) changeIndex(ctx context.Context, change func(*ocispec.Index) error) error {
	held, err := s.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer held.free()
	x, err := s.index()
	if err != nil {
		return err
	}
	if err := change(x); err != nil {
		return err
	}
	return s.writeIndex(x)
}

// nameOf is the name of an entry of the index; empty if it has none.
func nameOf(d ocispec.Descriptor) string { return d.Annotations[ocispec.AnnotationRefName] }

// setTag makes name mean the image d, whatever it meant before. An entry that lost its name in this way goes.
func setTag(x *ocispec.Index, name string, d ocispec.Descriptor) {
	removeTag(x, name)
	x.Manifests = slices.DeleteFunc(x.Manifests, func(have ocispec.Descriptor) bool {
		return have.Digest == d.Digest && nameOf(have) == ""
	})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	d.URLs, d.Data = nil, nil
	x.Manifests = append(x.Manifests, d)
}

// removeTag takes the entry of a name out and returns its digest; empty if there is none.
func removeTag(x *ocispec.Index, name string) (was digest.Digest) {
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d ocispec.Descriptor) bool {
		if nameOf(d) != name {
			return false
		}
		was = d.Digest
		return true
	})
	return was
}

// namePattern is the image specification's grammar of ref.name, which has room for Docker's names too.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]+(?:[-._:@+]+[A-Za-z0-9]+|--[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|__|--)+[A-Za-z0-9]+)*)*$`)

// CheckName says what is wrong with the name of an image: NAME[:TAG], in which NAME may begin with the host of a registry.
func CheckName(name string) error {
	bad := func(why string) error {
		return &fault.Error{Op: "name an image", Path: fault.Brief(name), Msg: why, Hint: "names are like debian, local/app:1.2 or host:5000/group/app:tag"}
	}
	switch {
	case name == "":
		return bad("the name is empty")
	case len(name) > 255:
		return bad(fmt.Sprintf("the name has %d bytes, 255 are allowed", len(name)))
	case !namePattern.MatchString(name):
		return bad("letters and digits, separated by . _ - : / + or @")
	}
	return nil
}

// withTag is the name with :latest where it has no tag.
func withTag(name string) string {
	if last := name[strings.LastIndexByte(name, '/')+1:]; strings.ContainsAny(last, ":@") {
		return name
	}
	return name + ":latest"
}
