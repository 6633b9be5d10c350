package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// A contender is a way to unpack an image.
type contender struct {
	name    string
	backend string   // berth-layer's
	needs   []string // programs, the one that says its version first
	// commands are what is run, one after the other, with the empty directory dir.
	commands func(l *layout, dir string) ([][]string, error)
	// daemon starts what the commands talk to; nil if they do the work themselves.
	daemon func(dir string) (*exec.Cmd, error)
}

// contenders returns those that are installed and wanted, and a note for each other.
func contenders(berth string, wanted *regexp.Regexp) (found []contender, notes []string) {
	for _, d := range []contender{
		berthLayer(berth, "erofs"), berthLayer(berth, "dir"),
		{name: "bsdtar", needs: []string{"bsdtar"}, commands: bsdtar},
		{name: "umoci", needs: []string{"umoci"}, commands: func(l *layout, dir string) ([][]string, error) {
			return [][]string{{"umoci", "unpack", "--image", l.dir + ":" + tag, filepath.Join(dir, "bundle")}}, nil
		}},
		{name: "skopeo c/storage", needs: []string{"skopeo"}, commands: func(l *layout, dir string) ([][]string, error) {
			return [][]string{{"skopeo", "--insecure-policy", "copy", "-q", "oci:" + l.dir + ":" + tag,
				"containers-storage:[overlay@" + dir + "/root+" + dir + "/run]localhost/image:" + tag}}, nil
		}},
		{name: "ctr import", needs: []string{"containerd", "ctr"}, daemon: containerd, commands: func(l *layout, dir string) ([][]string, error) {
			return [][]string{{"ctr", "--address", dir + "/sock", "images", "import", "--base-name", "localhost/image", l.archive}}, nil
		}},
	} {
		if !wanted.MatchString(d.name) {
			continue
		}
		if missing := missing(d.needs); missing != "" {
			notes = append(notes, d.name+" is left out: no "+missing)
			continue
		}
		found = append(found, d)
	}
	return found, notes
}

func missing(programs []string) string {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}

func berthLayer(path, backend string) contender {
	return contender{name: "berth-layer " + backend, backend: backend, needs: []string{path},
		commands: func(l *layout, dir string) ([][]string, error) {
			return [][]string{{path, "--quiet", "--root", filepath.Join(dir, "store"), "pull", "--backend", backend, "oci:" + l.dir + ":" + tag, "image"}}, nil
		}}
}

// bsdtar unpacks each layer into a directory of its own and checks nothing: what gunzip and files cost.
func bsdtar(l *layout, dir string) (commands [][]string, err error) {
	for n, blob := range l.blobs {
		into := filepath.Join(dir, fmt.Sprint(n))
		if err := os.Mkdir(into, 0o755); err != nil {
			return nil, err
		}
		commands = append(commands, []string{"bsdtar", "-x", "-p", "--numeric-owner", "-f", blob, "-C", into})
	}
	return commands, nil
}

const containerdConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`

// containerd is a daemon with everything of it in dir.
func containerd(dir string) (*exec.Cmd, error) {
	config := fmt.Sprintf(containerdConfig, dir+"/root", dir+"/state", dir+"/sock", dir+"/ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o644); err != nil {
		return nil, err
	}
	daemon := exec.Command("containerd", "--config", dir+"/config.toml")
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		if exec.Command("ctr", "--address", dir+"/sock", "version").Run() == nil {
			return daemon, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = daemon.Process.Kill()
	_ = daemon.Wait()
	return nil, fmt.Errorf("containerd does not answer")
}
