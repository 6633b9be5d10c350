package transport_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/archive"
)

// TestThereAndBack: every transport of a disk gives back what it was given.
func TestThereAndBack(t *testing.T) {
	m := twoLayers(t)
	for _, name := range []string{"oci:%s/x:tag", "oci:%s/x", "oci:%s/x:docker.io/library/it:1", "dir:%s/x", "oci-archive:%s/x.tar:tag",
		"oci-archive:%s/x.tar", "docker-archive:%s/x.tar:it:1", "docker-archive:%s/x.tar"} {
		at := fmt.Sprintf(name, t.TempDir())
		for range 2 { // the second time in the place of the first
			push(t, m, at, transport.Options{})
			got, err := pull(t, at, transport.Options{})
			if err != nil {
				t.Fatal(at, err)
			}
			same(t, m, got)
		}
		noLeftovers(t, filepath.Dir(parse(t, at).Path))
	}
}

func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".berth") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestIndexThereAndBack: an index goes along with all of its images, where there is room for more than one.
func TestIndexThereAndBack(t *testing.T) {
	m := newImage()
	arm := m.image(t, &v1.Platform{OS: "linux", Architecture: "arm64"}, []byte("arm"))
	inner := m.index(t, arm)
	amd := m.image(t, &v1.Platform{OS: "linux", Architecture: "amd64"}, []byte("amd"), noise(1, 5000))
	m.index(t, inner, amd)
	for _, name := range []string{"oci:%s/x:tag", "dir:%s/x", "oci-archive:%s/x.tar:tag"} {
		at := fmt.Sprintf(name, t.TempDir())
		push(t, m, at, transport.Options{})
		s, err := transport.Open(t.Context(), parse(t, at), transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Root().Digest != m.root.Digest {
			t.Errorf("%s: root %v", at, s.Root())
		}
		for arch, want := range map[string]digest.Digest{"arm64": arm.Digest, "amd64": amd.Digest} {
			im, err := transport.Resolve(t.Context(), s, v1.Platform{OS: "linux", Architecture: arch})
			if err != nil || im.Descriptor.Digest != want {
				t.Errorf("%s: %s: %v", at, arch, err)
			}
		}
		_, err = transport.Resolve(t.Context(), s, v1.Platform{OS: "plan9", Architecture: "amd64"})
		if err == nil || !strings.Contains(err.Error(), "linux/arm64, linux/amd64") {
			t.Error(err)
		}
		s.Close()
	}
	err := copyTo(t, memory{m}, "docker-archive:"+t.TempDir()+"/x.tar", transport.Options{})
	if err == nil || !strings.Contains(err.Error(), "--platform") {
		t.Error(err)
	}
}

// TestLayoutKeepsOtherTags: also where several write at once.
func TestLayoutKeepsOtherTags(t *testing.T) {
	dir := t.TempDir() + "/layout"
	var wait sync.WaitGroup
	for i := range 8 {
		m := newImage()
		m.image(t, nil, []byte("common"), noise(i, 100))
		wait.Go(func() {
			if err := copyTo(t, memory{m}, fmt.Sprintf("oci:%s:tag%d", dir, i), transport.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for i := range 8 {
		if _, err := pull(t, fmt.Sprintf("oci:%s:tag%d", dir, i), transport.Options{}); err != nil {
			t.Error(err)
		}
	}
	_, err := pull(t, "oci:"+dir, transport.Options{})
	if err == nil || !strings.Contains(err.Error(), "more than one") || !strings.Contains(err.Error(), "tag5") {
		t.Error(err)
	}
	_, err = pull(t, "oci:"+dir+":other", transport.Options{})
	if err == nil || !strings.Contains(err.Error(), "no image of that name") || !strings.Contains(err.Error(), "tag5") {
		t.Error(err)
	}
	noLeftovers(t, dir)
}

// TestDamagedBlobIsMended: a blob of the right name and size may have another content, after a power cut.
func TestDamagedBlobIsMended(t *testing.T) {
	m := twoLayers(t)
	at := "oci:" + t.TempDir() + ":tag"
	push(t, m, at, transport.Options{})
	path := filepath.Join(parse(t, at).Path, "blobs/sha256", m.layers[1].Digest.Encoded())
	if err := os.WriteFile(path, make([]byte, m.layers[1].Size), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, at, transport.Options{}); err == nil {
		t.Fatal("the damage was not seen")
	}
	push(t, m, at, transport.Options{})
	got, err := pull(t, at, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, got)
}

// TestOtherDirectoriesAreLeftAlone: what is no layout, or no dir:, does not become one.
func TestOtherDirectoriesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"oci:" + dir, "dir:" + dir} {
		if err := copyTo(t, memory{twoLayers(t)}, at, transport.Options{}); err == nil || !strings.Contains(err.Error(), "other things") {
			t.Errorf("%s: %v", at, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
}

// TestNothingBeforeCommit: an archive that was not committed leaves what was there.
func TestNothingBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := twoLayers(t)
	m.content[m.layers[1].Digest] = m.content[m.layers[1].Digest][:1000]
	bad := m.write(t) // a layout with a bad blob, so that it is verified
	for _, at := range []string{"oci-archive:" + path, "docker-archive:" + path} {
		s, err := transport.Open(t.Context(), parse(t, "oci:"+bad), transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := copyTo(t, s, at, transport.Options{}); err == nil || !strings.Contains(err.Error(), "ends after 1000 of") {
			t.Error(at, err)
		}
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "old" {
		t.Errorf("%q, %v", raw, err)
	}
	noLeftovers(t, dir)
}

// write makes a layout of m by hand, whatever is in it.
func (m *image) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for d, raw := range m.content {
		files["blobs/sha256/"+d.Encoded()] = raw
	}
	index, err := json.Marshal(v1.Index{Manifests: []v1.Descriptor{m.root}})
	if err != nil {
		t.Fatal(err)
	}
	files["index.json"] = index
	for name, raw := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBadLayouts: content is held to its descriptor wherever it comes from.
func TestBadLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *image)
		want  string
	}{
		"wrong content": {func(t *testing.T, m *image) { clear(m.content[m.layers[1].Digest]) }, "the content has digest"},
		"short":         {func(t *testing.T, m *image) { m.content[m.layers[0].Digest] = nil }, "ends after 0 of"},
		"long": {func(t *testing.T, m *image) {
			m.content[m.layers[0].Digest] = append(m.content[m.layers[0].Digest], 'x')
		}, "longer than the"},
		"missing": {func(t *testing.T, m *image) { delete(m.content, m.layers[0].Digest) }, "no such file"},
		"traversal in index.json": {func(t *testing.T, m *image) {
			m.root.Digest = "sha256:../../../../etc/passwd"
		}, "invalid checksum digest"},
		"traversal in the manifest": {func(t *testing.T, m *image) {
			m.json(t, v1.MediaTypeImageManifest, json.RawMessage(`{"schemaVersion":2,"layers":[],"config":{"digest":"sha256:../../../../etc/passwd"}}`))
		}, "config: check descriptor sha256:../../../../etc/passwd"},
		"huge manifest": {func(t *testing.T, m *image) { m.root.Size = 1 << 40 }, "more than the limit"},
		"negative size": {func(t *testing.T, m *image) { m.root.Size = -1 }, "size -1"},
		"helm chart": {func(t *testing.T, m *image) {
			m.json(t, v1.MediaTypeImageManifest, v1.Manifest{Versioned: version2, Config: v1.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json",
				Digest: digest.FromString("")}})
		}, "not a container image"},
		"nested too deep": {func(t *testing.T, m *image) {
			d := m.root
			for range 6 {
				d = m.index(t, d)
			}
		}, "indexes in one another"},
		"too many indexes": {func(t *testing.T, m *image) {
			d := m.index(t, m.root)
			m.index(t, slicesOf(d, 20)...)
		}, "indexes in one another or 16 in all"},
		"empty index":        {func(t *testing.T, m *image) { m.index(t) }, "the index has no image"},
		"data of a manifest": {func(t *testing.T, m *image) { embedManifest(t, m, func(b []byte) {}) }, ""},
		"data of a manifest is wrong": {func(t *testing.T, m *image) {
			embedManifest(t, m, func(b []byte) { b[bytes.IndexByte(b, ':')+1] = ' ' })
		}, "the content has digest"},
		"data is right":      {func(t *testing.T, m *image) { embed(t, m, func(b []byte) {}) }, ""},
		"data is wrong":      {func(t *testing.T, m *image) { embed(t, m, func(b []byte) { b[5] ^= 1 }) }, "the content has digest"},
		"index, no platform": {func(t *testing.T, m *image) { m.index(t, m.root) }, ""},
		"index, no platforms": {func(t *testing.T, m *image) {
			m.index(t, m.root, m.json(t, v1.MediaTypeImageManifest, v1.Manifest{Versioned: version2}))
		}, "a manifest of no platform"},
	} {
		m := twoLayers(t)
		c.spoil(t, m)
		got, err := pull(t, "oci:"+m.write(t), transport.Options{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if err == nil {
			same(t, m, got)
		}
	}
}

func slicesOf(d v1.Descriptor, n int) []v1.Descriptor {
	all := make([]v1.Descriptor, n)
	for i := range all {
		all[i] = d
	}
	return all
}

// embed puts the config into the manifest's descriptor of it and takes its blob away.
func embed(t *testing.T, m *image, change func([]byte)) {
	t.Helper()
	var man v1.Manifest
	if err := json.Unmarshal(m.content[m.root.Digest], &man); err != nil {
		t.Fatal(err)
	}
	man.Config.Data = bytes.Clone(m.content[man.Config.Digest])
	change(man.Config.Data)
	delete(m.content, man.Config.Digest)
	m.json(t, v1.MediaTypeImageManifest, man)
}

// embedManifest makes an index that has the manifest in its descriptor, and takes the manifest's blob away.
func embedManifest(t *testing.T, m *image, change func([]byte)) {
	t.Helper()
	d := m.root
	d.Data = bytes.Clone(m.content[d.Digest])
	change(d.Data)
	delete(m.content, d.Digest)
	m.index(t, d)
}

// TestShortData: data that is shorter than its descriptor says is found out before it is cut.
func TestShortData(t *testing.T) {
	m := twoLayers(t)
	at := "oci:" + m.write(t)
	s, err := transport.Open(t.Context(), parse(t, at), transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := m.layers[1]
	d.Data = []byte("short")
	if _, err := s.Blob(t.Context(), d, 100); err == nil || !strings.Contains(err.Error(), "ends after 5 of") {
		t.Error(err)
	}
}

func TestAFIFOIsNotWaitedFor(t *testing.T) {
	m := twoLayers(t)
	dir := m.write(t)
	path := filepath.Join(dir, "blobs/sha256", m.layers[0].Digest.Encoded())
	os.Remove(path)
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	if _, err := pull(t, "oci:"+dir, transport.Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}

// member is one of an archive made by hand.
type member struct {
	name, link string
	content    []byte
	kind       byte
}

func archiveOf(t *testing.T, members ...member) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Linkname: m.link, Size: int64(len(m.content)), Typeflag: m.kind, Mode: 0o644}
		if m.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDockerArchives: what docker save has written over the years, and worse.
func TestDockerArchives(t *testing.T) {
	one, two := tarOf(t, "a", noise(1, 5000)), tarOf(t, "b", []byte("two"))
	twoGz := gzipped(t, two)
	config := func(layers ...[]byte) []byte {
		raw, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": v1.RootFS{Type: "layers", DiffIDs: digests(layers...)}})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	c12 := config(one, two)
	table := func(tag, config string, layers ...string) member {
		raw, err := json.Marshal([]any{map[string]any{"Config": config, "RepoTags": []string{tag}, "Layers": layers}})
		if err != nil {
			t.Fatal(err)
		}
		return member{name: "manifest.json", content: raw}
	}
	blob := func(raw []byte) string { return "blobs/sha256/" + digest.FromBytes(raw).Encoded() }
	usual := table("it:latest", "c.json", "1/layer.tar", "2/layer.tar")
	for name, c := range map[string]struct {
		members []member
		ask     string
		want    string
	}{
		"plain":           {members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"by name":         {ask: ":it", members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"by number":       {ask: ":@0", members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"wrong number":    {ask: ":@1", want: "the archive has 1", members: []member{usual}},
		"wrong name":      {ask: ":other", want: "there are it:latest", members: []member{usual}},
		"with ./":         {members: []member{{name: "./c.json", content: c12}, {name: "./1/layer.tar", content: one}, {name: "./2/layer.tar", content: two}, {name: "./manifest.json", content: usual.content}}},
		"table first":     {members: []member{usual, {name: "2/layer.tar", content: two}, {name: "1/layer.tar", content: one}, {name: "c.json", content: c12}}},
		"compressed":      {members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: twoGz}, usual}},
		"buildkit":        {members: []member{table("it:latest", blob(c12), blob(one), blob(twoGz)), {name: blob(c12), content: c12}, {name: blob(one), content: one}, {name: blob(twoGz), content: twoGz}}},
		"name lies":       {want: "the content has digest", members: []member{table("it:latest", blob(c12), blob(one), blob(twoGz)), {name: blob(c12), content: c12}, {name: blob(one), content: one}, {name: blob(twoGz), content: gzipped(t, one)}}},
		"symbolic link":   {members: []member{{name: "c.json", content: c12}, {name: "0/layer.tar", content: one}, {name: "1/layer.tar", link: "../0/layer.tar", kind: tar.TypeSymlink}, {name: "2/layer.tar", content: two}, usual}},
		"hard link":       {members: []member{{name: "c.json", content: c12}, {name: "0/layer.tar", content: one}, {name: "1/layer.tar", link: "0/layer.tar", kind: tar.TypeLink}, {name: "2/layer.tar", content: two}, usual}},
		"twice, last":     {members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: two}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"link loop":       {want: "too many links", members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", link: "layer.tar", kind: tar.TypeSymlink}, {name: "2/layer.tar", content: two}, usual}},
		"link outside":    {want: "leads out", members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", link: "../../etc/passwd", kind: tar.TypeSymlink}, usual}},
		"name outside":    {want: "leads out", members: []member{{name: "../c.json", content: c12}, usual}},
		"layer outside":   {want: "not exist", members: []member{table("it:latest", "c.json", "../../etc/passwd", "/etc/passwd"), {name: "c.json", content: c12}}},
		"layer missing":   {want: "2/layer.tar", members: []member{{name: "c.json", content: c12}, {name: "1/layer.tar", content: one}, usual}},
		"diffIDs differ":  {want: "the content has digest", members: []member{{name: "c.json", content: config(two, one)}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"diffIDs missing": {want: "1 diff_ids for 2 layers", members: []member{{name: "c.json", content: config(one)}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"diffIDs bad":     {want: "invalid checksum", members: []member{{name: "c.json", content: []byte(`{"rootfs":{"diff_ids":["sha256:..","x"]}}`)}, {name: "1/layer.tar", content: one}, {name: "2/layer.tar", content: two}, usual}},
		"no table":        {want: "not a docker-archive", members: []member{{name: "c.json", content: c12}}},
		"a layout":        {want: "it is an oci-archive:", members: []member{{name: "oci-layout", content: c12}}},
		"table no JSON":   {want: "manifest.json", members: []member{{name: "manifest.json", content: []byte("x")}}},
		"table empty":     {want: "the archive has 0", members: []member{{name: "manifest.json", content: []byte("[]")}}},
	} {
		path := archiveOf(t, c.members...)
		got, err := pull(t, "docker-archive:"+path+c.ask, transport.Options{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
			continue
		}
		if err == nil && (len(got) != 2 || !bytes.Equal(got[0], one) || !bytes.Equal(plain(t, got[1]), two)) {
			t.Errorf("%s: other layers", name)
		}
	}
}

func digests(all ...[]byte) []digest.Digest {
	sums := []digest.Digest{}
	for _, raw := range all {
		sums = append(sums, digest.FromBytes(raw))
	}
	return sums
}

// TestSameLayerTwice: an image may have a layer twice, and an archive has it once.
func TestSameLayerTwice(t *testing.T) {
	m := newImage()
	m.image(t, nil, []byte("same"), noise(1, 3000), []byte("same"))
	for _, name := range []string{"oci-archive:%s/x.tar", "docker-archive:%s/x.tar", "oci:%s/x", "dir:%s/x"} {
		at := fmt.Sprintf(name, t.TempDir())
		push(t, m, at, transport.Options{})
		got, err := pull(t, at, transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, m, got)
	}
}

// TestCompressedArchives are spooled, and nothing stays of that.
func TestCompressedArchives(t *testing.T) {
	m := twoLayers(t)
	for _, name := range []string{"oci-archive:", "docker-archive:"} {
		path := filepath.Join(t.TempDir(), "x.tar")
		push(t, m, name+path, transport.Options{})
		for _, tool := range []string{"gzip", "zstd", "bzip2", "xz"} {
			if _, err := exec.LookPath(tool); err != nil {
				continue
			}
			raw, err := exec.Command(tool, "-c", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			compressed := path + "." + tool
			if err := os.WriteFile(compressed, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			o := transport.Options{Spool: archive.Spool{Dir: t.TempDir(), Max: 1 << 20}}
			got, err := pull(t, name+compressed, o)
			if tool == "xz" {
				if err == nil || !strings.Contains(err.Error(), "xz, which is not supported") {
					t.Error(err)
				}
				continue
			}
			if err != nil {
				t.Fatal(tool, err)
			}
			same(t, m, got)
			o.Spool.Max = 1000
			if _, err := pull(t, name+compressed, o); err == nil || !strings.Contains(err.Error(), "limit of 1000") {
				t.Error(err)
			}
			if entries, err := os.ReadDir(o.Spool.Dir); err != nil || len(entries) > 0 {
				t.Error(entries, err)
			}
		}
	}
}

func TestNotArchives(t *testing.T) {
	dir := t.TempDir()
	m := twoLayers(t)
	push(t, m, "docker-archive:"+dir+"/docker.tar", transport.Options{})
	for name, content := range map[string][]byte{"empty": nil, "text": bytes.Repeat([]byte("text "), 1000), "gzip": gzipped(t, []byte("x"))} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []string{"oci-archive:" + dir + "/docker.tar", "oci-archive:" + dir, "docker-archive:" + dir + "/nothing",
		"oci-archive:" + dir + "/empty", "docker-archive:" + dir + "/text", "docker-archive:" + dir + "/gzip", "oci:" + dir, "dir:" + dir, "oci:" + dir + "/text"} {
		if _, err := pull(t, at, transport.Options{}); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", at, err)
		}
	}
}
