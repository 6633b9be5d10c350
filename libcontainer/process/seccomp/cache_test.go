package seccomp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func sample() *specs.LinuxSeccomp {
	return profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read", "write"}, Action: specs.ActAllow})
}

// entry is the one file in the cache's directory.
func entry(t *testing.T, c Cache) string {
	t.Helper()
	list, err := os.ReadDir(c.Dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v, want one entry", list, err)
	}
	return filepath.Join(c.Dir, list[0].Name())
}

func compile(t *testing.T, c Cache, s *specs.LinuxSeccomp) Filter {
	t.Helper()
	f, complaints := c.Compile(s)
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	return f
}

func TestCacheHit(t *testing.T) {
	c := Cache{filepath.Join(t.TempDir(), "a", "b")}
	first := compile(t, c, sample())
	path := entry(t, c)
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	before, _ := os.Stat(path)
	second := compile(t, c, sample())
	after, _ := os.Stat(path)
	if !bytes.Equal(first.BPF, second.BPF) || first.Flags != second.Flags {
		t.Error("the cached filter is another one")
	}
	if !os.SameFile(before, after) {
		t.Error("a hit wrote the entry again")
	}
	direct, _ := Compile(sample())
	if !bytes.Equal(first.BPF, direct.BPF) || first.Flags != direct.Flags {
		t.Error("the cache compiles another filter")
	}
}

// That an entry is used at all shows where a valid one says something else.
func TestCacheIsRead(t *testing.T) {
	c := Cache{t.TempDir()}
	compile(t, c, sample())
	other := Filter{BPF: make([]byte, 80), Flags: 7}
	if err := os.WriteFile(entry(t, c), encode(key(sample()), other), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := compile(t, c, sample()); f.Flags != 7 || f.Instructions() != 10 {
		t.Errorf("%d instructions, flags %#x", f.Instructions(), f.Flags)
	}
}

func TestCacheDistrust(t *testing.T) {
	foreign := encode(key(sample()), Filter{BPF: make([]byte, 80)})
	tests := []struct {
		name string
		do   func(path string) error
	}{
		{"truncated", func(path string) error { return os.Truncate(path, 50) }},
		{"empty", func(path string) error { return os.Truncate(path, 0) }},
		{"longer", func(path string) error { return os.Truncate(path, 1<<10) }},
		{"huge", func(path string) error { return os.Truncate(path, 1<<30) }},
		{"no filter", func(path string) error { return os.WriteFile(path, foreign[:len(foreign)-80], 0o600) }},
		{"a bit flipped", func(path string) error {
			raw, err := os.ReadFile(path)
			if err == nil {
				raw[len(raw)-1] ^= 1
				err = os.WriteFile(path, raw, 0o600)
			}
			return err
		}},
		{"flags changed", func(path string) error {
			raw, err := os.ReadFile(path)
			if err == nil {
				raw[16] ^= 2
				err = os.WriteFile(path, raw, 0o600)
			}
			return err
		}},
		{"another profile under the same name", func(path string) error {
			return os.WriteFile(path, encode(key(profile(specs.ActLog)), Filter{BPF: make([]byte, 80)}), 0o600)
		}},
		{"another magic", func(path string) error {
			return os.WriteFile(path, append([]byte("BERTHBPF"), foreign[len(magic):]...), 0o600)
		}},
		{"writable by the group", func(path string) error {
			if err := os.WriteFile(path, foreign, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o620)
		}},
		{"a link to a good one", func(path string) error {
			good := filepath.Join(filepath.Dir(filepath.Dir(path)), "good")
			if err := os.WriteFile(good, foreign, 0o600); err != nil {
				return err
			}
			os.Remove(path)
			return os.Symlink(good, path)
		}},
		{"a FIFO", func(path string) error { os.Remove(path); return syscall.Mkfifo(path, 0o600) }},
		{"another user's", func(path string) error {
			if os.Geteuid() != 0 {
				return nil
			}
			if err := os.WriteFile(path, foreign, 0o600); err != nil {
				return err
			}
			return os.Chown(path, 1000, 1000)
		}},
	}
	want, _ := Compile(sample())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Cache{filepath.Join(t.TempDir(), "cache")}
			compile(t, c, sample())
			path := entry(t, c)
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			if got := compile(t, c, sample()); !bytes.Equal(got.BPF, want.BPF) || got.Flags != want.Flags {
				t.Fatal("the entry was believed")
			}
			// And it was made good.
			raw, err := os.ReadFile(path)
			if st, _ := os.Lstat(path); err != nil || !st.Mode().IsRegular() || !bytes.Equal(raw, encode(key(sample()), want)) {
				t.Errorf("the entry is still bad: %v", err)
			}
		})
	}
}

func TestCacheDirectoryDistrust(t *testing.T) {
	want, _ := Compile(sample())
	tests := []struct {
		name string
		dir  func(parent string) string
	}{
		{"none", func(string) string { return "" }},
		{"writable by all", func(parent string) string {
			d := filepath.Join(parent, "x")
			os.Mkdir(d, 0o777)
			os.Chmod(d, 0o777)
			return d
		}},
		{"a link", func(parent string) string {
			os.Mkdir(filepath.Join(parent, "real"), 0o700)
			os.Symlink("real", filepath.Join(parent, "x"))
			return filepath.Join(parent, "x")
		}},
		{"a file", func(parent string) string {
			os.WriteFile(filepath.Join(parent, "x"), nil, 0o600)
			return filepath.Join(parent, "x")
		}},
		{"below a file", func(string) string { return "/dev/null/x" }},
	}
	for _, tt := range tests {
		c := Cache{tt.dir(t.TempDir())}
		if got := compile(t, c, sample()); !bytes.Equal(got.BPF, want.BPF) {
			t.Errorf("%s: another filter", tt.name)
		}
		if list, _ := os.ReadDir(c.Dir); c.Dir != "" && len(list) > 0 {
			t.Errorf("%s: something was stored", tt.name)
		}
	}
}

func TestCacheKeepsNothingBad(t *testing.T) {
	c := Cache{t.TempDir()}
	if _, complaints := c.Compile(profile("nonsense")); len(complaints) != 1 {
		t.Error(complaints)
	}
	if list, _ := os.ReadDir(c.Dir); len(list) != 0 {
		t.Errorf("stored: %v", list)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := Cache{t.TempDir()}
	for i := range maxEntries + 5 {
		path := filepath.Join(c.Dir, fmt.Sprintf("old%03d", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	compile(t, c, sample())
	list, _ := os.ReadDir(c.Dir)
	if len(list) != maxEntries {
		t.Errorf("%d entries", len(list))
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), "old") && e.Name() < "old006" {
			t.Errorf("%s is older than what was removed", e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(c.Dir, fileName(key(sample())))); err != nil {
		t.Error("the new entry is gone")
	}
}

// Whatever changes the filter changes the key.
func TestKey(t *testing.T) {
	edits := []func(*specs.LinuxSeccomp){
		func(*specs.LinuxSeccomp) {},
		func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActKill },
		func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = ptr(uint(0)) },
		func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = ptr(uint(1)) },
		func(s *specs.LinuxSeccomp) { s.Architectures = []specs.Arch{specs.ArchX86} },
		func(s *specs.LinuxSeccomp) { s.Architectures = []specs.Arch{specs.ArchX86, specs.ArchX32} },
		func(s *specs.LinuxSeccomp) { s.Flags = []specs.LinuxSeccompFlag{} },
		func(s *specs.LinuxSeccomp) { s.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog} },
		func(s *specs.LinuxSeccomp) { s.Syscalls = nil },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = []string{"readwrite"} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = []string{"write", "read"} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Action = specs.ActLog },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].ErrnoRet = ptr(uint(1)) },
		func(s *specs.LinuxSeccomp) { s.Syscalls = append(s.Syscalls, s.Syscalls[0]) },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{}} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 1}} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{Value: 1}} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{ValueTwo: 1}} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}} },
	}
	seen := map[string]int{}
	for i, edit := range edits {
		s := sample()
		edit(s)
		k := string(key(s))
		if j, ok := seen[k]; ok {
			t.Errorf("edits %d and %d have the same key", i, j)
		}
		seen[k] = i
		if k != string(key(s)) {
			t.Errorf("edit %d has two keys", i)
		}
	}
	s := sample()
	s.ListenerMetadata = "ignored"
	if !bytes.Equal(key(s), key(sample())) {
		t.Error("what does not change the filter changes the key")
	}
}

func FuzzDecode(f *testing.F) {
	k := []byte("key")
	f.Add(encode(k, Filter{BPF: make([]byte, 16), Flags: 4}))
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decode(k, raw)
		if err == nil && !bytes.Equal(encode(k, got), raw) {
			t.Error("decoded and encoded, it is not the same")
		}
	})
}
