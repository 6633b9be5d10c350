package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// packages are the image's layers, from the bottom up: programs, libraries, sources, many small files and a few large.
var packages = [][]string{
	{"base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "dpkg", "findutils", "grep", "gzip", "libc6", "libc-bin",
		"locales", "perl-base", "sed", "tar", "util-linux"},
	{"libperl5.36", "perl-modules-5.36", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "git", "vim-runtime",
		"python3-numpy", "python3-sympy"},
	{"binutils-x86-64-linux-gnu", "cpp-12", "gcc-12", "g++-12", "libgcc-12-dev", "libstdc++-12-dev", "libc6-dev", "linux-libc-dev"},
	{"libllvm14", "llvm-14", "libclang-cpp14"},
	{"openjdk-17-jre-headless", "libicu72"},
	{"libboost1.74-dev"},
}

// tag is what the images are called in their layouts.
const tag = "bench"

// layout is an image on the disk.
type layout struct {
	dir     string
	archive string   // the same as an oci-archive
	blobs   []string // the layers, from the bottom up
	stored  int64    // bytes of them
	plain   int64    // of their tars
	entries int
}

// written is a layer that was made.
type written struct {
	descriptor ocispec.Descriptor
	diffID     digest.Digest
	size       int64
	entries    int
}

// debianImage makes the image below cache, unless it is there.
func debianImage(cache string) (*layout, error) {
	return cached(filepath.Join(cache, "debian"), func(dir string) ([]written, error) {
		debs := filepath.Join(cache, "debs")
		if err := download(debs); err != nil {
			return nil, err
		}
		layers := make([]written, len(packages))
		var group errgroup.Group
		group.SetLimit(2)
		for n, names := range packages {
			group.Go(func() (err error) {
				layers[n], err = writeLayer(dir, func(w *tar.Writer) (int, error) { return addPackages(w, debs, names) })
				return err
			})
		}
		return layers, group.Wait()
	})
}

// deepImage makes an image of n layers with one file each.
func deepImage(cache string, n int) (*layout, error) {
	return cached(filepath.Join(cache, fmt.Sprint("layers-", n)), func(dir string) ([]written, error) {
		layers := make([]written, n)
		for i := range layers {
			var err error
			layers[i], err = writeLayer(dir, func(w *tar.Writer) (int, error) {
				text := fmt.Sprintf("layer %d\n", i)
				h := &tar.Header{Name: fmt.Sprintf("file-%d", i), Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(1e9, 0)}
				err := w.WriteHeader(h)
				if err == nil {
					_, err = io.WriteString(w, text)
				}
				return 1, err
			})
			if err != nil {
				return nil, err
			}
		}
		return layers, nil
	})
}

// cached returns the layout dir, which is made and then renamed, so that what is there is complete.
func cached(dir string, layers func(dir string) ([]written, error)) (*layout, error) {
	l := &layout{dir: dir, archive: dir + ".tar"}
	if _, err := os.Stat(l.archive); err == nil {
		return l, l.describe()
	}
	making := dir + ".making"
	_ = os.RemoveAll(making)
	if err := os.MkdirAll(filepath.Join(making, "blobs/sha256"), 0o755); err != nil {
		return nil, err
	}
	made, err := layers(making)
	if err == nil {
		err = writeDocuments(making, made)
	}
	if err == nil {
		_ = os.RemoveAll(dir)
		err = os.Rename(making, dir)
	}
	if err == nil {
		err = exec.Command("tar", "-C", dir, "-cf", l.archive+".making", "oci-layout", "index.json", "blobs").Run()
	}
	if err == nil {
		err = os.Rename(l.archive+".making", l.archive)
	}
	if err != nil {
		return nil, err
	}
	return l, l.describe()
}

// download fetches the packages that are missing, with apt.
func download(dir string) error {
	var missing []string
	for _, layer := range packages {
		for _, name := range layer {
			if found, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb")); len(found) == 0 {
				missing = append(missing, name)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil || len(missing) == 0 {
		return err
	}
	cmd := exec.Command("apt-get", append([]string{"download", "-q"}, missing...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	return nil
}

// writeLayer makes a gzip layer, as `docker push` compresses.
func writeLayer(dir string, add func(*tar.Writer) (int, error)) (l written, err error) {
	f, err := os.CreateTemp(filepath.Join(dir, "blobs/sha256"), "layer-")
	if err != nil {
		return l, err
	}
	defer f.Close()
	stored, plain := &counter{Hash: sha256.New()}, &counter{Hash: sha256.New()}
	z := gzip.NewWriter(io.MultiWriter(f, stored))
	w := tar.NewWriter(io.MultiWriter(z, plain))
	if l.entries, err = add(w); err != nil {
		return l, err
	}
	if err := errors.Join(w.Close(), z.Close(), f.Chmod(0o644)); err != nil {
		return l, err
	}
	l.diffID, l.size = plain.digest(), plain.n
	l.descriptor = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: stored.digest(), Size: stored.n}
	return l, os.Rename(f.Name(), filepath.Join(dir, "blobs/sha256", l.descriptor.Digest.Encoded()))
}

type counter struct {
	hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

func (c *counter) digest() digest.Digest { return digest.NewDigest(digest.SHA256, c.Hash) }

// addPackages adds what the packages install; a directory that several have is listed once.
func addPackages(w *tar.Writer, debs string, names []string) (int, error) {
	listed := map[string]bool{}
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(debs, name+"_*.deb"))
		if err != nil || len(found) == 0 {
			return 0, fmt.Errorf("no package %s in %s", name, debs)
		}
		if err := addPackage(w, found[len(found)-1], listed); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return len(listed), nil
}

func addPackage(w *tar.Writer, deb string, listed map[string]bool) error {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = copyMembers(w, tar.NewReader(out), listed)
	_, drained := io.Copy(io.Discard, out)
	return errors.Join(err, drained, cmd.Wait())
}

func copyMembers(w *tar.Writer, r *tar.Reader, listed map[string]bool) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name, h.Format = strings.TrimPrefix(h.Name, "./"), tar.FormatUnknown
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.TrimPrefix(h.Linkname, "./")
		}
		if h.Name == "" || listed[h.Name] {
			continue
		}
		listed[h.Name] = true
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}

// writeDocuments writes configuration, manifest and index.
func writeDocuments(dir string, layers []written) error {
	config := ocispec.Image{Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}}
	config.Config.Cmd = []string{"/bin/bash"}
	config.RootFS.Type = "layers"
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var size int64
	var entries int
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		m.Layers = append(m.Layers, l.descriptor)
		size, entries = size+l.size, entries+l.entries
	}
	m.Annotations = map[string]string{"plain": fmt.Sprint(size), "entries": fmt.Sprint(entries)}
	var err error
	if m.Config, err = writeBlob(dir, ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	d, err := writeBlob(dir, m.MediaType, m)
	if err != nil {
		return err
	}
	d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{d}}
	return errors.Join(writeJSON(filepath.Join(dir, "index.json"), index),
		writeJSON(filepath.Join(dir, "oci-layout"), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}))
}

func writeBlob(dir, mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	d := digest.FromBytes(data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "blobs/sha256", d.Encoded()), data, 0o644)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, err
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// describe reads what the layout has, and its blobs into the page cache.
func (l *layout) describe() error {
	var index ocispec.Index
	if err := readJSON(filepath.Join(l.dir, "index.json"), &index); err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := readJSON(l.blob(index.Manifests[0].Digest), &m); err != nil {
		return err
	}
	if _, err := fmt.Sscan(m.Annotations["plain"]+" "+m.Annotations["entries"], &l.plain, &l.entries); err != nil {
		return err
	}
	for _, d := range m.Layers {
		l.blobs = append(l.blobs, l.blob(d.Digest))
		l.stored += d.Size
	}
	return nil
}

func (l *layout) blob(d digest.Digest) string {
	return filepath.Join(l.dir, "blobs/sha256", d.Encoded())
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
