package layer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What can be wrong with a store, what fsck says of it, and what is still wrong after a repair and one more pull.
func TestFsck(t *testing.T) {
	overwrite := func(path string) error { return os.WriteFile(path, []byte("damaged"), 0o644) }
	for name, test := range map[string]struct {
		harm             func(s *Store, i *Image) error
		finds            []string
		repairs, remains []string
	}{
		"nothing": {func(*Store, *Image) error { return nil }, nil, nil, nil},
		"leftovers": {func(s *Store, _ *Image) error {
			return os.WriteFile(s.path(trashDir, "x"), nil, 0o600)
		}, []string{"leftover"}, []string{"leftover repaired"}, nil},
		"staging": {func(s *Store, _ *Image) error {
			return os.MkdirAll(s.path(stagingDir, "make-1/layer/fs"), 0o700)
		}, []string{"leftover"}, []string{"leftover repaired"}, nil},
		"a file": {func(s *Store, i *Image) error {
			return overwrite(s.layer(i.DiffIDs()[0]) + "/fs/etc/motd")
		}, []string{"file"}, []string{"file repaired"}, nil},
		"a file gone": {func(s *Store, i *Image) error {
			return os.Remove(s.layer(i.DiffIDs()[0]) + "/fs/etc/motd")
		}, []string{"file"}, []string{"file repaired"}, nil},
		"a file too many": {func(s *Store, i *Image) error {
			return overwrite(s.layer(i.DiffIDs()[0]) + "/fs/etc/more")
		}, []string{"file"}, []string{"file repaired"}, nil},
		"mode": {func(s *Store, i *Image) error {
			return os.Chmod(s.layer(i.DiffIDs()[1])+"/fs/bin/sh", 0o777)
		}, []string{"file"}, []string{"file repaired"}, nil},
		"a layer": {func(s *Store, i *Image) error {
			return removeAll(s.layer(i.DiffIDs()[0]))
		}, []string{"layer"}, []string{"layer repaired"}, nil},
		"meta.json": {func(s *Store, i *Image) error {
			return overwrite(s.layer(i.DiffIDs()[0]) + "/meta.json")
		}, []string{"layer"}, []string{"layer repaired"}, nil},
		"fs of a layer": {func(s *Store, i *Image) error {
			return removeAll(s.layer(i.DiffIDs()[0]) + "/fs")
		}, []string{"layer"}, []string{"layer repaired"}, nil},
		"a blob": {func(s *Store, i *Image) error {
			return overwrite(s.blob(i.Manifest.Layers[0].Digest))
		}, []string{"blob", "image"}, []string{"blob repaired", "image"}, []string{"image"}},
		"a blob gone": {func(s *Store, i *Image) error {
			return os.Remove(s.blob(i.Manifest.Layers[0].Digest))
		}, []string{"image"}, []string{"image"}, []string{"image"}},
		"the configuration": {func(s *Store, i *Image) error {
			return overwrite(s.blob(i.ID()))
		}, []string{"blob", "image"}, []string{"blob repaired", "image repaired"}, nil},
		"the manifest": {func(s *Store, i *Image) error {
			return overwrite(s.blob(i.Descriptor.Digest))
		}, []string{"blob", "image"}, []string{"blob repaired", "image repaired"}, nil},
		"index.json": {func(s *Store, _ *Image) error {
			return overwrite(s.path("index.json"))
		}, []string{"error", "index"}, []string{"index repaired"}, nil},
		"no index.json": {func(s *Store, _ *Image) error {
			return os.Remove(s.path("index.json"))
		}, []string{"error", "index"}, []string{"index repaired"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t)
			i := s.pullText(t, base, "it").Image
			if err := test.harm(s, i); err != nil {
				t.Fatal(err)
			}
			want(t, "finds", s.faults(t, false), test.finds)
			want(t, "repairs", s.faults(t, true), test.repairs)
			want(t, "remains", s.faults(t, false), test.remains)
			s.pullText(t, base, "it")
			want(t, "after a pull", s.faults(t, false), nil)
			if _, err := s.Prune(t.Context(), PruneOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A bundle whose record cannot be read: what was written to it is kept, and one that nothing was written to goes.
func TestFsckLostBundle(t *testing.T) {
	for _, where := range []string{"upper", "upper/etc", "volumes/data", "scratch/upper", ""} {
		for _, record := range []string{"damaged", ""} {
			t.Run(where+" "+record, func(t *testing.T) {
				s := openTest(t)
				dir := s.path(bundlesDir, "0123456789ab")
				for _, d := range []string{dir + "/upper", dir + "/work", dir + "/" + where} {
					if err := os.MkdirAll(d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if record != "" {
					os.WriteFile(dir+"/bundle.json", []byte(record), 0o644)
				}
				var kept []string
				if where != "" {
					os.WriteFile(filepath.Join(dir, where, "mine"), []byte("x"), 0o644)
					kept = []string{where + "/mine"}
				}
				want(t, "finds", s.faults(t, false), []string{"bundle"})
				want(t, "repairs", s.faults(t, true), []string{"bundle repaired"})
				want(t, "remains", s.faults(t, false), nil)
				if _, err := s.Prune(t.Context(), PruneOptions{}); err != nil {
					t.Error(err)
				}
				var found []string
				filepath.WalkDir(s.path(lostDir), func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Name() == "mine" {
						_, rest, _ := strings.Cut(path, "/0123456789ab.")
						_, rest, _ = strings.Cut(rest, "/")
						found = append(found, rest)
					}
					return nil
				})
				want(t, "kept", found, kept)
			})
		}
	}
}

// A pull mends what it needs, without fsck.
func TestPullMends(t *testing.T) {
	for name, path := range map[string]func(s *Store, i *Image) string{
		"blob":          func(s *Store, i *Image) string { return s.blob(i.Manifest.Layers[0].Digest) },
		"configuration": func(s *Store, i *Image) string { return s.blob(i.ID()) },
		"manifest":      func(s *Store, i *Image) string { return s.blob(i.Descriptor.Digest) },
	} {
		s := openTest(t)
		i := s.pullText(t, base, "it").Image
		if err := os.WriteFile(path(s, i), []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.pullText(t, base, "it")
		if found := s.faults(t, false); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	s := openTest(t)
	i := s.pullText(t, base, "it").Image
	if err := os.Remove(s.layer(i.DiffIDs()[0]) + "/meta.json"); err != nil {
		t.Fatal(err)
	}
	s.pullText(t, base, "it")
	want(t, "layer without meta.json", s.faults(t, false), nil)
}

// What somebody is making is not swept away.
func TestSweep(t *testing.T) {
	s := openTest(t)
	mine, err := s.stage()
	if err != nil {
		t.Fatal(err)
	}
	file, err := s.stageFile()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name, err := s.lockName(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	defer name.free()
	for _, left := range []string{stagingDir + "/file-1", locksDir + "/old", trashDir + "/x"} {
		if err := os.WriteFile(s.path(left), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.sweep(); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	for path, there := range map[string]bool{mine.path: true, file.Name(): true, s.path(locksDir, "name"): true, s.path(locksDir, "old"): false} {
		if is, _ := exists(path); is != there {
			t.Errorf("%s: %v", path, is)
		}
	}
	if err := mine.end(); err != nil {
		t.Error(err)
	}
}

// One process may have a store open in many goroutines; this is for the race detector.
func TestGoroutines(t *testing.T) {
	s := openTest(t)
	from := map[string]string{"base": layout(t, base), "app": layout(t, app)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var all sync.WaitGroup
	for n := range 10 {
		all.Go(func() {
			for k := n; ctx.Err() == nil; k++ {
				var err error
				switch name := []string{"base", "app"}[k%2]; k / 2 % 5 {
				case 0, 1:
					_, err = s.try(t, "oci:"+from[name], name, Limits{})
				case 2:
					_, err = s.RemoveImage(t.Context(), name)
				case 3:
					_, err = s.Prune(t.Context(), PruneOptions{})
				case 4:
					err = s.Tag(t.Context(), name, fmt.Sprint("tag", k%3))
				}
				if err != nil && !strings.Contains(err.Error(), "there is none of that name") {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want(t, "fsck", s.faults(t, false), nil)
}

func TestChangeConfig(t *testing.T) {
	for line, want := range map[string]func(c *ocispec.ImageConfig) bool{
		`CMD ["a", "b c"]`:  func(c *ocispec.ImageConfig) bool { return strings.Join(c.Cmd, "|") == "a|b c" },
		`cmd a  b`:          func(c *ocispec.ImageConfig) bool { return strings.Join(c.Cmd, "|") == "/bin/sh|-c|a  b" },
		`ENTRYPOINT ["/x"]`: func(c *ocispec.ImageConfig) bool { return len(c.Entrypoint) == 1 },
		`ENV A=2`:           func(c *ocispec.ImageConfig) bool { return strings.Join(c.Env, "|") == "B=1|A=2" },
		`ENV A "x y"`:       func(c *ocispec.ImageConfig) bool { return strings.Join(c.Env, "|") == "B=1|A=x y" },
		`LABEL k='v w'`:     func(c *ocispec.ImageConfig) bool { return c.Labels["k"] == "v w" },
		`EXPOSE 80 53/udp`: func(c *ocispec.ImageConfig) bool {
			_, ok := c.ExposedPorts["80/tcp"]
			return ok && len(c.ExposedPorts) == 2
		},
		`VOLUME ["/a b"]`:    func(c *ocispec.ImageConfig) bool { _, ok := c.Volumes["/a b"]; return ok },
		`STOPSIGNAL SIGQUIT`: func(c *ocispec.ImageConfig) bool { return c.StopSignal == "SIGQUIT" },
		`USER me`:            func(c *ocispec.ImageConfig) bool { return c.User == "me" },
		`WORKDIR /x`:         func(c *ocispec.ImageConfig) bool { return c.WorkingDir == "/x" },
		`RUN true`:           nil, `CMD`: nil, `CMD ["a"`: nil, `ENV A`: nil, ``: nil,
	} {
		var i ocispec.Image
		i.Config.Env = []string{"A=1", "B=1"}
		err := changeConfig(&i, []string{line})
		if (err == nil) != (want != nil) || err == nil && !want(&i.Config) {
			t.Errorf("%q: %v %+v", line, err, i.Config)
		}
	}
}
