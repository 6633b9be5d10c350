package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"berth/tests/layers/stack"
)

// containerd is a daemon of its own, started with the first case, and its client ctr. Images keep what they have
// unpacked: a chain of layers that two cases have is unpacked once.
type containerd struct {
	dir    string
	daemon *exec.Cmd
	cases  int
}

func (*containerd) Name() string { return "containerd" }

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

func (c *containerd) start() error {
	c.dir = filepath.Join(work, "containerd")
	at := func(name string) string { return filepath.Join(c.dir, name) }
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	config := fmt.Sprintf(containerdConfig, at("root"), at("state"), at("sock"), at("ttrpc"))
	if err := os.WriteFile(at("config.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	log, err := os.Create(at("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c.daemon = exec.Command("containerd", "--config", at("config.toml"))
	c.daemon.Stdout, c.daemon.Stderr = log, log
	if err := c.daemon.Start(); err != nil {
		return err
	}
	for range 100 {
		if _, err = c.ctr(nil, "version"); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// Close ends the daemon.
func (c *containerd) Close() error {
	if c.daemon == nil || c.daemon.Process == nil {
		return nil
	}
	c.daemon.Process.Kill()
	c.daemon.Wait()
	return nil
}

func (c *containerd) ctr(stdin []byte, args ...string) (string, error) {
	return command(stdin, "ctr", append([]string{"--address", filepath.Join(c.dir, "sock")}, args...)...)
}

func (c *containerd) Unpack(layout, dir string) (string, func(), error) {
	if c.daemon == nil {
		if err := c.start(); err != nil {
			return "", nothing, crash{"containerd does not start: " + err.Error()}
		}
	}
	archive, err := exec.Command("tar", "-C", layout, "-c", "oci-layout", "index.json", "blobs").Output()
	if err != nil {
		return "", nothing, err
	}
	c.cases++
	base := fmt.Sprintf("localhost/case%d", c.cases)
	name := base + ":" + stack.Tag
	if _, err := c.ctr(archive, "images", "import", "--base-name", base, "-"); err != nil {
		return "", nothing, err
	}
	remove := func() { c.ctr(nil, "images", "rm", "--sync", name) }
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return "", remove, err
	}
	if _, err := c.ctr(nil, "images", "mount", name, rootfs); err != nil {
		return "", remove, err
	}
	return rootfs, func() { c.ctr(nil, "images", "unmount", "--rm", rootfs); remove() }, nil
}
