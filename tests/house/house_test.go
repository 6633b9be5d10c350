// Package house holds the rules of the house: which room may import which, what may stand at the top of the repository,
// and which modules may enter the binary. docs/ARCHITECTURE.md says why.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "berth"

// floors are the rooms from the ground up. A package imports rooms of lower floors only, and packages of its own room.
var floors = [][]string{
	{"libcontainer/fault", "libcontainer/host", "libcontainer/trace", "libcontainer/defaults"},
	{"nsenter"},
	{
		"libcontainer/bundle", "libcontainer/process", "libcontainer/supervise", "libcontainer/netdev",
		"libcontainer/intelrdt", "libcontainer/criu", "cgroups", "rootfs",
	},
	{"libcontainer"},
	{"cli"},
	{""},
}

// modules says which rooms may use a module from outside; what is not named here may not enter the binary.
var modules = map[string][]string{
	"github.com/opencontainers/runtime-spec": {
		"libcontainer/defaults", "libcontainer/bundle", "libcontainer/process", "libcontainer/supervise",
		"libcontainer/netdev", "libcontainer/intelrdt", "cgroups", "rootfs", "libcontainer", "cli",
	},
	"github.com/seccomp/libseccomp-golang": {"libcontainer/process"},
	"github.com/urfave/cli/v2":             {"cli"},
	"golang.org/x/sys": {
		"libcontainer/host", "nsenter", "libcontainer/process", "libcontainer/supervise", "libcontainer/netdev",
		"libcontainer/intelrdt", "libcontainer/criu", "cgroups", "rootfs", "libcontainer", "cli",
	},
}

// shared is what the layer tool has of the runtime.
var shared = []string{"rootfs", "rootfs/overlayfs", "libcontainer/fault", "libcontainer/defaults"}

// top is all that may stand at the top of the repository, besides names that begin with a dot.
var top = strings.Fields(
	"main.go cli libcontainer nsenter cgroups rootfs go.mod go.sum Makefile tests README.md docs LICENSE")

// imported is what `go list -json` says of a package.
type imported struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		from, ok := strings.CutPrefix(p.ImportPath+"/", module+"/")
		if !ok || strings.HasPrefix(from, "tests/") {
			continue
		}
		for _, path := range p.Imports {
			if to, ok := strings.CutPrefix(path+"/", module+"/"); ok {
				if why := forbidden(strings.TrimSuffix(from, "/"), strings.TrimSuffix(to, "/")); why != "" {
					t.Errorf("%s imports %s: %s", p.ImportPath, path, why)
				}
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     string
	}{
		{"", "cli", ""},
		{"cli", "libcontainer", ""},
		{"cli", "libcontainer/bundle", ""},
		{"libcontainer", "rootfs", ""},
		{"libcontainer/process", "libcontainer/process/seccomp", ""},
		{"rootfs", "nsenter", ""},
		{"nsenter", "libcontainer/host", ""},
		{"rootfs/layer", "rootfs", ""},
		{"rootfs/layer", "libcontainer/fault", ""},
		{"rootfs/cmd/berth-layer", "rootfs/layer", ""},
		{"rootfs", "cgroups", "rooms on one floor do not know each other"},
		{"libcontainer/fault", "libcontainer/host", "rooms on one floor do not know each other"},
		{"nsenter", "rootfs", "imports point down"},
		{"libcontainer", "cli", "imports point down"},
		{"rootfs", "rootfs/layer", "nothing of the runtime imports rootfs/layer"},
		{"rootfs/layer", "libcontainer/host", "rootfs/layer knows rootfs, rootfs/overlayfs, libcontainer/fault, libcontainer/defaults only"},
		{"rootfs/layer/overlay", "rootfs/overlayfs", ""},
		{"rootfs/layer/convert", "libcontainer/defaults", ""},
		{"rootfs", "rootfs/overlayfs", ""},
		{"libcontainer/bundle", "libcontainer/defaults", ""},
		{"libcontainer/host", "libcontainer/defaults", "rooms on one floor do not know each other"},
		{"cli", "tests/x", "no such room"},
	} {
		if got := forbidden(c.from, c.to); got != c.want {
			t.Errorf("%q imports %q: got %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

// forbidden says why one package of berth may not import another; empty if it may.
func forbidden(from, to string) string {
	const layer, layerTool = "rootfs/layer", "rootfs/cmd"
	if below(from, layer) && !below(to, layer) && !slices.Contains(shared, to) {
		return "rootfs/layer knows " + strings.Join(shared, ", ") + " only"
	}
	if below(to, layer) && !below(from, layer) && !below(from, layerTool) {
		return "nothing of the runtime imports rootfs/layer"
	}
	lower, upper := room(to), room(from)
	switch {
	case lower == "?" || upper == "?":
		return "no such room"
	case lower == upper:
		return ""
	case floor(lower) == floor(upper):
		return "rooms on one floor do not know each other"
	case floor(lower) > floor(upper):
		return "imports point down"
	}
	return ""
}

// room returns the room that a package belongs to: the longest name in floors that it lies below; "?" if there is none.
func room(path string) string {
	best := "?"
	for _, rooms := range floors {
		for _, name := range rooms {
			if path == name || name != "" && below(path, name) && len(name) >= len(best) {
				best = name
			}
		}
	}
	return best
}

func floor(room string) int {
	return slices.IndexFunc(floors, func(rooms []string) bool { return slices.Contains(rooms, room) })
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// TestModules keeps the binary small and every dependency where its one user is.
func TestModules(t *testing.T) {
	owner := map[string]string{} // package to module
	packages := list(t, "-deps", ".")
	for _, p := range packages {
		if p.Module != nil {
			owner[p.ImportPath] = p.Module.Path
		}
	}
	for _, p := range packages {
		from, ours := strings.CutPrefix(p.ImportPath+"/", module+"/")
		if !ours {
			continue
		}
		for _, path := range p.Imports {
			used := owner[path]
			if used == "" || used == module {
				continue
			}
			if home := room(strings.TrimSuffix(from, "/")); !slices.Contains(modules[used], home) {
				t.Errorf("%s imports %s: not among the modules that %q may use", p.ImportPath, path, home)
			}
		}
	}
}

// TestTop holds the top level that the project's owner gave.
func TestTop(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skip("[git] not in a git repository")
	}
	for path := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(path), "/")
		if !strings.HasPrefix(name, ".") && !slices.Contains(top, name) {
			t.Errorf("%s: not among the names at the top of the repository", name)
		}
	}
}

// TestPages holds every page to being found: the README or another page links to it.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	text := map[string]string{}
	for _, p := range append(pages, "../../README.md") {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		text[p] = string(raw)
	}
	for _, p := range pages {
		name := filepath.Base(p)
		found := slices.ContainsFunc(slices.Collect(maps.Keys(text)), func(from string) bool {
			return from != p && (strings.Contains(text[from], "("+name) || strings.Contains(text[from], "(docs/"+name))
		})
		if !found {
			t.Errorf("no page links to docs/%s", name)
		}
	}
}

func list(t *testing.T, args ...string) []imported {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard,Module"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var packages []imported
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p imported
		switch err := decoder.Decode(&p); {
		case err == io.EOF:
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
