package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"berth/tests/layers/stack"
)

// Unpacker is a tool that makes a root file system of an image.
type Unpacker interface {
	Name() string
	// Unpack unpacks the image of a layout, using the empty directory dir. The root file system is there until cleanup.
	Unpack(layout, dir string) (rootfs string, cleanup func(), err error)
}

// crash is the error of a tool that did not end by itself.
type crash struct{ how string }

func (c crash) Error() string { return c.how }

const patience = 60 * time.Second

// command runs a program; its error is what the program said last. A panic and a signal are crashes.
func command(stdin []byte, name string, args ...string) (stdout string, err error) {
	return commandIn(work, stdin, name, args...)
}

func commandIn(dir string, stdin []byte, name string, args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	cmd.WaitDelay = time.Second
	cmd.Dir = dir
	err = cmd.Run()
	said := strings.TrimSpace(out.String() + "\n" + errs.String())
	var exit *exec.ExitError
	switch {
	case err == nil:
		return strings.TrimSpace(out.String()), nil
	case ctx.Err() != nil:
		return "", crash{"not done after " + patience.String()}
	case strings.Contains(said, "panic: ") || strings.Contains(said, "fatal error: "):
		return "", crash{said}
	case errors.As(err, &exit) && !exit.Exited():
		return "", crash{err.Error()}
	}
	if said == "" {
		said = err.Error()
	}
	return "", fmt.Errorf("%s: %s", filepath.Base(name), said)
}

func nothing() {}

// installed returns the tools that are here, berth-layer first, where there is one.
func installed(berthLayer string) []Unpacker {
	var tools []Unpacker
	if berthLayer == "" {
		fmt.Println("[berth-layer] bin/berth-layer is not built: left out")
	} else {
		tools = append(tools, berth{berthLayer, "dir"}, berth{berthLayer, "erofs"})
	}
	add := func(tool Unpacker, programs ...string) {
		for _, program := range programs {
			if _, err := exec.LookPath(program); err != nil {
				fmt.Printf("[%s] %s is not installed: left out\n", program, tool.Name())
				return
			}
		}
		tools = append(tools, tool)
	}
	add(umoci{}, "umoci")
	add(&containerd{}, "containerd", "ctr")
	add(storage{}, "skopeo", "podman")
	add(tarProgram{"bsdtar", []string{"-x", "-p", "--numeric-owner"}}, "bsdtar")
	add(tarProgram{"tar", []string{"-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"}}, "tar", "zstd")
	return tools
}

// berth is berth-layer with one of its backends.
type berth struct{ program, backend string }

func (b berth) Name() string { return "berth-" + b.backend }

func (b berth) Unpack(layout, dir string) (string, func(), error) {
	root, bundle := filepath.Join(dir, "store"), filepath.Join(dir, "bundle")
	run := func(args ...string) error {
		_, err := command(nil, b.program, append([]string{"--root", root}, args...)...)
		return err
	}
	if err := run("pull", "--backend", b.backend, "oci:"+layout+":"+stack.Tag, "case"); err != nil {
		return "", nothing, err
	}
	if err := run("create", "case", bundle); err != nil {
		return "", nothing, err
	}
	return filepath.Join(bundle, "rootfs"), func() { run("rm", bundle) }, nil
}

// umoci extracts all layers into one tree.
type umoci struct{}

func (umoci) Name() string { return "umoci" }

func (umoci) Unpack(layout, dir string) (string, func(), error) {
	bundle := filepath.Join(dir, "bundle")
	_, err := command(nil, "umoci", "unpack", "--image", layout+":"+stack.Tag, bundle)
	return filepath.Join(bundle, "rootfs"), nothing, err
}

// storage is skopeo into containers-storage, mounted by podman.
type storage struct{}

func (storage) Name() string { return "c/storage" }

func (storage) Unpack(layout, dir string) (string, func(), error) {
	root, run := filepath.Join(dir, "root"), filepath.Join(dir, "run")
	const name = "localhost/corpus:case"
	_, err := command(nil, "skopeo", "--insecure-policy", "copy", "oci:"+layout+":"+stack.Tag,
		"containers-storage:[overlay@"+root+"+"+run+"]"+name)
	if err != nil {
		return "", nothing, err
	}
	podman := func(args ...string) (string, error) {
		return command(nil, "podman", append([]string{"--root", root, "--runroot", run, "--storage-driver", "overlay", "image"}, args...)...)
	}
	rootfs, err := podman("mount", name)
	return rootfs, func() { podman("umount", "--force", name) }, err
}

// tarProgram extracts layer over layer; it knows nothing of whiteouts.
type tarProgram struct {
	name string
	args []string
}

func (t tarProgram) Name() string { return t.name }

func (t tarProgram) Unpack(layout, dir string) (string, func(), error) {
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return "", nothing, err
	}
	blobs, err := layers(layout)
	for _, blob := range blobs {
		if err != nil {
			break
		}
		_, err = command(nil, t.name, append(t.args, "-f", blob, "-C", rootfs)...)
	}
	return rootfs, nothing, err
}

// layers returns the files of a layout's layers, the bottom one first.
func layers(layout string) ([]string, error) {
	var document struct {
		MediaType string
		Manifests []struct{ Digest string }
		Layers    []struct{ Digest string }
	}
	blob := func(digest string) string {
		return filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1))
	}
	for path := filepath.Join(layout, "index.json"); document.Layers == nil; {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		document.Manifests = nil
		if err := json.Unmarshal(raw, &document); err != nil {
			return nil, err
		}
		if len(document.Manifests) > 0 {
			path = blob(document.Manifests[0].Digest)
		} else if document.Layers == nil {
			return nil, errors.New("no layers")
		}
	}
	var files []string
	for _, layer := range document.Layers {
		files = append(files, blob(layer.Digest))
	}
	return files, nil
}
