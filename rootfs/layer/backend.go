package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/erofs"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/layer/unpack"
	"berth/rootfs/layer/userns"
	"berth/rootfs/overlayfs"
)

// unpacker makes and mends layers in one form.
type unpacker interface {
	backend() Backend
	// unpack reads the plain tar stream to its end and makes the layer below dir, which is empty. Only then it may ask for
	// the diffID, which of a layer that is being written nobody knows before.
	unpack(ctx context.Context, dir string, diffID func() digest.Digest, r io.Reader) (*Meta, error)
	// verify compares the layer in dir with its stream.
	verify(ctx context.Context, dir string, r io.Reader) ([]unpack.Damage, error)
	// repair takes what is damaged in dir from the stream.
	repair(ctx context.Context, dir string, damaged []unpack.Damage, r io.Reader) error
}

// unpacker returns what makes layers of a backend; empty and Auto are what this machine does best.
func (s *Store) unpacker(b Backend, limits Limits) (unpacker, error) {
	switch b {
	case "", Auto:
		if s.probe() == nil {
			return &images{limits: limits}, nil
		}
		return &trees{limits: limits}, nil
	case Directory:
		return &trees{limits: limits}, nil
	case EROFS:
		if err := s.probe(); err != nil {
			return nil, &fault.Error{Op: "keep layers as EROFS images", Path: s.root, Err: err}
		}
		return &images{limits: limits}, nil
	}
	return nil, &fault.Error{Op: "choose a backend", Path: string(b), Msg: "there is none of that name", Hint: "dir, erofs or auto"}
}

// probe tries an image in a directory that no sweep removes.
func (s *Store) probe() error {
	stage, err := s.stage()
	if err != nil {
		return err
	}
	return errors.Join(erofs.Probe(stage.path), stage.end())
}

// trees keep a layer as a directory: fs.
type trees struct{ limits Limits }

func (*trees) backend() Backend { return Directory }

// options say how layers are made directories by whoever runs this: the same for unpacking and for comparing.
func (t *trees) options() unpack.Options {
	o := unpack.Options{MaxEntries: t.limits.Entries}
	if initialUserNS() {
		return o
	}
	o.UserXattr, o.Unprivileged = true, true
	own, err := userns.Current()
	if o.KeepOwner = err != nil || own.Single(); !o.KeepOwner { // ids that there are not are told apart from a refusal
		o.UIDs, o.GIDs = inside(own.UIDs), inside(own.GIDs)
	}
	return o
}

// inside is the ids of a user namespace as themselves.
func inside(ids []specs.LinuxIDMapping) []unpack.IDRange {
	var out []unpack.IDRange
	for _, m := range ids {
		out = append(out, unpack.IDRange{Layer: m.ContainerID, Host: m.ContainerID, Size: m.Size})
	}
	return out
}

// treeDir is the tree in a layer's directory.
const treeDir = "fs"

func (t *trees) unpack(ctx context.Context, dir string, _ func() digest.Digest, r io.Reader) (*Meta, error) {
	if err := os.Mkdir(dir+"/"+treeDir, 0o755); err != nil {
		return nil, err
	}
	in, err := os.Open(dir + "/" + treeDir)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	result, err := unpack.Unpack(in, t.reader(ctx, r), t.options())
	if err != nil {
		return nil, err
	}
	m := &Meta{Entries: result.Entries, Size: result.Size, Parents: result.Parents, Opaque: result.Opaque}
	for _, w := range result.Warnings {
		m.Warnings = append(m.Warnings, w.Error())
	}
	return m, nil
}

func (t *trees) reader(ctx context.Context, r io.Reader) *member.Reader {
	return members(ctx, r, t.limits, false)
}

func (t *trees) verify(ctx context.Context, dir string, r io.Reader) ([]unpack.Damage, error) {
	in, err := os.Open(dir + "/" + treeDir)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return unpack.Verify(in, t.reader(ctx, r), t.options())
}

func (t *trees) repair(ctx context.Context, dir string, damaged []unpack.Damage, r io.Reader) error {
	in, err := os.Open(dir + "/" + treeDir)
	if err != nil {
		return err
	}
	defer in.Close()
	return unpack.Repair(in, t.reader(ctx, r), damaged, t.options())
}

// images keep a layer as its tar and a metadata image over it: layer.tar, layer.erofs.
type images struct{ limits Limits }

func (*images) backend() Backend { return EROFS }

// teeSize is how much of a tar is written at once.
const teeSize = 256 << 10

func (i *images) unpack(ctx context.Context, dir string, diffID func() digest.Digest, r io.Reader) (*Meta, error) {
	tar, err := os.OpenFile(dir+"/layer.tar", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	// Headers are read in pieces of 512 bytes, which would be written as they are read.
	builder, err := i.build(ctx, bufio.NewReaderSize(io.TeeReader(r, tar), teeSize))
	if err != nil {
		return nil, err
	}
	size, err := tar.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if err := erofs.Pad(tar); err != nil {
		return nil, err
	}
	image, err := os.OpenFile(dir+"/layer.erofs", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	result, err := builder.Write(image, erofs.Tar{ReaderAt: tar, Size: size, DiffID: diffID().String()})
	if err != nil {
		return nil, err
	}
	return &Meta{Entries: int64(result.Entries), Size: result.Content, Tar: size, Parents: result.Parents, Opaque: result.Opaque}, image.Close()
}

// build reads a stream to its end.
func (i *images) build(ctx context.Context, r io.Reader) (*erofs.Builder, error) {
	return erofs.Build(members(ctx, r, i.limits, true), erofs.Options{})
}

// verify compares the tar with the stream byte by byte, and the image with what the stream says. A layer that differs has
// no single file to mend: all of it is made again.
func (i *images) verify(ctx context.Context, dir string, r io.Reader) ([]unpack.Damage, error) {
	tar, err := os.Open(dir + "/layer.tar")
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	same := &comparer{kept: tar}
	b, err := i.build(ctx, io.TeeReader(r, same))
	if err != nil {
		return nil, err
	}
	meta, err := os.Open(dir + "/layer.erofs")
	if err != nil {
		return nil, err
	}
	defer meta.Close()
	image, err := erofs.Open(meta, tar, erofs.Options{})
	if err != nil {
		return nil, err
	}
	var wrong error
	b.Check(image, func(path, what string) {
		if wrong == nil {
			wrong = fmt.Errorf("%q in the image: %s", path, what)
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	return i.verifyTree(ctx, dir, tar)
}

// verifyTree compares the tree beside an image, where there is one, with the tar, which is good.
func (i *images) verifyTree(ctx context.Context, dir string, tar *os.File) ([]unpack.Damage, error) {
	if there, err := exists(dir + "/" + treeDir); err != nil || !there {
		return nil, err
	}
	if _, err := tar.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return (&trees{i.limits}).verify(ctx, dir, tar)
}

// repair mends files of the tree: an image has no single ones to mend.
func (i *images) repair(ctx context.Context, dir string, damaged []unpack.Damage, r io.Reader) error {
	return (&trees{i.limits}).repair(ctx, dir, damaged, r)
}

// comparer takes a stream and fails at the first byte that is not as in a file.
type comparer struct {
	kept io.Reader
	buf  []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	if len(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	if _, err := io.ReadFull(c.kept, c.buf[:len(p)]); err != nil {
		return 0, fmt.Errorf("the kept tar ends early: %w", err)
	}
	if string(c.buf[:len(p)]) != string(p) {
		return 0, errors.New("the kept tar has other content")
	}
	return len(p), nil
}

// members reads a layer as long as nobody interrupts.
func members(ctx context.Context, r io.Reader, limits Limits, offsets bool) *member.Reader {
	return member.NewReader(cancelled{ctx, r}, member.Options{Offsets: offsets, MaxEntries: limits.Entries})
}

// cancelled ends a stream with its context.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(p)
}

// initialUserNS tells whether this process is in the host's user namespace, where root may make devices and trusted.*
// attributes: the initial one maps all ids to themselves.
var initialUserNS = sync.OnceValue(func() bool {
	own, err := userns.Current()
	return err != nil || slices.Equal(own.UIDs, []specs.LinuxIDMapping{{Size: 1<<32 - 1}})
})

// lowerOf opens a layer for overlayfs and for looking into. What it returns is for the caller to close.
func (s *Store) lowerOf(path string, m *Meta) (overlayfs.Layer, overlay.Tree, io.Closer, error) {
	if m.Backend == Directory {
		tree, err := overlay.OpenDir(path+"/"+treeDir, !initialUserNS())
		if err != nil {
			return overlayfs.Layer{}, nil, nil, err
		}
		return overlayfs.Layer{Path: path + "/" + treeDir}, tree, tree, nil
	}
	mount, err := erofs.Mount(path+"/layer.erofs", path+"/layer.tar")
	if err != nil {
		return overlayfs.Layer{}, nil, nil, err
	}
	fd, err := unix.Openat(int(mount.Fd()), ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		mount.Close()
		return overlayfs.Layer{}, nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	tree := overlay.NewDir(os.NewFile(uintptr(fd), path+"/layer.erofs"), false)
	return overlayfs.Layer{Path: path + "/layer.erofs", Dir: mount}, tree, closers{tree, mount}, nil
}

type closers []io.Closer

// Close closes several at once: for each mount the kernel waits for a grace period.
func (all closers) Close() error {
	var group errgroup.Group
	group.SetLimit(8)
	errs := make([]error, len(all))
	for n, c := range all {
		group.Go(func() error {
			errs[n] = c.Close()
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}
