package layer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	layers "berth/tests/layers/stack"
)

// The images of the tests: app has the layers of base and one more.
const (
	base = "layer\n  dir etc\n  file etc/motd \"hello\"*1000\nlayer zstd\n  dir bin\n  file bin/sh sh mode=0755\n"
	app  = base + "layer tar\n  dir app\n  file app/page page\n"
)

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layout writes an image layout and returns its directory.
func layout(t *testing.T, text string) string {
	t.Helper()
	image, err := layers.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := image.WriteLayout(dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// try pulls, in directories: anybody can have those.
func (s *Store) try(t *testing.T, from, name string, limits Limits) (*Pulled, error) {
	t.Helper()
	ref, err := transport.Parse(from)
	if err != nil {
		t.Fatal(err)
	}
	src, err := transport.Open(t.Context(), ref, transport.Options{})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	return s.Pull(t.Context(), src, PullOptions{Name: name, Backend: Directory, Platform: amd64, Limits: limits})
}

func (s *Store) pullText(t *testing.T, text, name string) *Pulled {
	t.Helper()
	p, err := s.try(t, "oci:"+layout(t, text), name, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// faults is what fsck finds: kinds and whether it was repaired.
func (s *Store) faults(t *testing.T, repair bool) []string {
	t.Helper()
	found, err := s.Fsck(t.Context(), FsckOptions{Repair: repair})
	out := []string{}
	for _, f := range found {
		word := f.What
		if f.Repaired {
			word += " repaired"
		}
		out = append(out, word)
	}
	if err != nil {
		out = append(out, "error")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func want[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

func TestOutcomes(t *testing.T) {
	s := openTest(t)
	want(t, "first", s.pullText(t, base, "base").Layers, []Outcome{Added, Added})
	want(t, "again", s.pullText(t, base, "base").Layers, []Outcome{Exists, Exists})
	p := s.pullText(t, app, "app")
	want(t, "app", p.Layers, []Outcome{Exists, Exists, Added})
	want(t, "recompressed", s.pullText(t, strings.Replace(base, "layer\n", "layer zstd\n", 1), "other").Layers, []Outcome{Fetched, Exists})
	if err := removeAll(s.layer(p.Image.DiffIDs()[0])); err != nil {
		t.Fatal(err)
	}
	want(t, "without layer", s.pullText(t, app, "app").Layers, []Outcome{Unpacked, Exists, Exists})
	want(t, "twice in one image", s.pullText(t, base+base, "twice").Layers, []Outcome{Exists, Exists, Exists, Exists})
	want(t, "fsck", s.faults(t, false), []string{})
}

// A layer that is wrong in any way is refused, and the next pull of the right one succeeds.
func TestLies(t *testing.T) {
	const honest = "layer\n  file a \"x\"*3000\n"
	for name, test := range map[string]struct{ layer, says string }{
		"diffID":    {"layer diffid=wrong\n  file a \"x\"*3000\n", "configuration does not belong to its layers"},
		"digest":    {"layer digest=wrong\n  file a \"x\"*3000\n", "digest"},
		"size":      {"layer length=wrong\n  file a \"x\"*3000\n", "size"},
		"cut":       {"layer blobcut=10\n  file a \"x\"*3000\n", "layer 1 of 1"},
		"missing":   {"layer missing=1\n  file a \"x\"*3000\n", "layer 1 of 1"},
		"climbs":    {"layer\n  file ../a x\n", "../a"},
		"digest ..": {"layer digest=sha256:../../x\n  file a x\n", "sha256:../../x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t)
			_, err := s.try(t, "oci:"+layout(t, test.layer), "it", Limits{})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, which does not say %q", err, test.says)
			}
			if images, _ := s.Images(); len(images) > 0 {
				t.Error("it has a name")
			}
			want(t, "fsck", s.faults(t, false), []string{})
			s.pullText(t, honest, "it")
		})
	}
}

func TestLimits(t *testing.T) {
	for name, limits := range map[string]Limits{"size": {Size: 4096}, "entries": {Entries: 3}, "ratio": {Ratio: 100}} {
		s := openTest(t)
		dir := layout(t, "layer\n  file a \"x\"*20000000\n  file b x\n  file c x\n  file d x\n")
		if _, err := s.try(t, "oci:"+dir, "it", limits); err == nil {
			t.Errorf("%s: was pulled", name)
		}
		want(t, "fsck", s.faults(t, false), []string{})
		if _, err := s.try(t, "oci:"+dir, "it", Limits{}); err != nil {
			t.Errorf("%s: without it: %v", name, err)
		}
	}
}

// What an earlier pull has left is gone on with if it is right, and does no harm if it is not.
func TestPartial(t *testing.T) {
	dir := layout(t, base)
	probe := openTest(t)
	p, err := probe.try(t, "oci:"+dir, "it", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	d := p.Image.Manifest.Layers[0]
	whole, err := os.ReadFile(probe.blob(d.Digest))
	if err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string][]byte{
		"begun": whole[:len(whole)/2], "complete": whole, "empty": {}, "zeros": make([]byte, len(whole)/2), "zeros of the size": make([]byte, len(whole)),
		"too long": append(slices.Clone(whole), 1, 2, 3), "one byte wrong": append([]byte{whole[0] ^ 1}, whole[1:len(whole)/2]...),
		"wrong near the end": append(slices.Clone(whole[:len(whole)-9]), make([]byte, 9)...),
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t)
			if err := os.WriteFile(s.path(partialDir, d.Digest.Encoded()), left, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.try(t, "oci:"+dir, "it", Limits{}); err != nil {
				t.Fatal(err)
			}
			want(t, "fsck", s.faults(t, false), []string{})
			if left, _ := os.ReadDir(s.path(partialDir)); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestFind(t *testing.T) {
	s := openTest(t)
	i := s.pullText(t, base, "local/base:1").Image
	s.pullText(t, app, "app")
	if err := s.Tag(t.Context(), "app", "other"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"local/base:1", i.ID().String(), i.ID().Encoded()[:12], i.ID().Encoded(), i.Descriptor.Digest.Encoded()[:8], i.Descriptor.Digest.String()} {
		if got, err := s.Find(ref); err != nil || got.ID() != i.ID() {
			t.Errorf("%s: %v", ref, err)
		}
	}
	got, err := s.Find("other")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "names", got.Names, []string{"app:latest", "other:latest"})
	for _, ref := range []string{"", "local/base", "nobody", "abc", "0000000000000", "../x", "sha256:"} {
		if _, err := s.Find(ref); err == nil {
			t.Errorf("%q was found", ref)
		}
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"debian": true, "a/b/c:1.2": true, "host:5000/a/b:tag": true, "a_b-c.d": true, "a@sha256:00": true, "A": true, "a__b": true,
		"": false, "/a": false, "a/": false, "a//b": false, "..": false, "a/../b": false, "a b": false, "a\n": false, "-a": false, "a:": false, ":a": false,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false, "ä": false, "a\x00": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRemoveAndUsage(t *testing.T) {
	s := openTest(t)
	b := s.pullText(t, base, "base").Image
	a := s.pullText(t, app, "app").Image
	u, err := s.DiskUsage()
	if err != nil {
		t.Fatal(err)
	}
	if u.Images[0].Shared != u.Images[1].Shared || u.Images[0].Shared == 0 || u.Images[1].Unique <= u.Images[0].Unique {
		t.Errorf("%+v", u)
	}
	if sum := u.Images[0].Shared + u.Images[0].Unique + u.Images[1].Unique; sum != u.Total {
		t.Errorf("total %d, not %d", u.Total, sum)
	}
	dry, err := s.Prune(t.Context(), PruneOptions{DryRun: true})
	if err != nil || dry.Bytes != 0 {
		t.Errorf("%+v %v", dry, err)
	}
	out, err := s.RemoveImage(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "layers", out.Layers, a.DiffIDs()[2:])
	if out.Bytes != u.Images[1].Unique || len(out.Blobs) != 3 {
		t.Errorf("%+v, unique were %d", out, u.Images[1].Unique)
	}
	if out, err = s.RemoveImage(t.Context(), b.ID().String()); err != nil || len(out.Layers) != 2 {
		t.Errorf("%+v %v", out, err)
	}
	for _, dir := range []string{blobsDir, layersDir, stagingDir, trashDir} {
		if left, _ := os.ReadDir(s.path(dir)); len(left) > 0 {
			t.Errorf("%s: %v", dir, left)
		}
	}
}

func TestInspect(t *testing.T) {
	s := openTest(t)
	i := s.pullText(t, app, "app").Image
	got, err := s.Inspect("app")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "layers", got.RootFS.Layers, i.DiffIDs())
	lower := strings.Split(got.GraphDriver.Data["LowerDir"], ":")
	if len(lower) != 3 || lower[0] != s.layer(i.DiffIDs()[2])+"/fs" || got.Size != 5000+2+4 {
		t.Errorf("%+v", got)
	}
	steps, err := s.History("app")
	if err != nil || len(steps) != 3 {
		t.Fatalf("%v %v", steps, err)
	}
	want(t, "steps", []digest.Digest{steps[0].DiffID, steps[1].DiffID, steps[2].DiffID}, i.DiffIDs())
}
