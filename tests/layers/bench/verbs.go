package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// verbs measures what berth-layer does with images that are here, all on one fresh file system.
func (b *bench) verbs(backend string) {
	err := b.volume.use(func(dir string) error {
		do := func(args ...string) (sample, error) {
			return b.run(append([]string{b.o.berth, "--quiet", "--root", filepath.Join(dir, "store")}, args...))
		}
		for _, l := range []*layout{b.deep, b.image} {
			if _, err := do("pull", "--backend", backend, "oci:"+l.dir+":"+tag, filepath.Base(l.dir)); err != nil {
				return err
			}
		}
		v := verbs{b, backend, dir, do}
		return errors.Join(v.create(), v.commit(), v.list(), v.remove())
	})
	if err != nil {
		b.add(backend, sample{}, err)
	}
}

type verbs struct {
	*bench
	backend, dir string
	do           func(args ...string) (sample, error)
}

func (v *verbs) measured(what string, args ...string) error {
	s, err := v.do(args...)
	v.add(what+", "+v.backend, s, err)
	return err
}

// forms are the bundles that can be made of a backend's layers.
var forms = map[string][]string{"erofs": {"mounted"}, "dir": {"mounted", "in-config"}}

// create makes and removes bundles of the image with many layers.
func (v *verbs) create() error {
	bundle := filepath.Join(v.dir, "bundle")
	for range v.o.verbs {
		for _, form := range forms[v.backend] {
			if err := v.measured(fmt.Sprintf("create, %d layers, %s", len(v.deep.blobs), form), "create", "--form", form, filepath.Base(v.deep.dir), bundle); err != nil {
				return err
			}
			if err := v.measured("rm of that bundle", "rm", bundle); err != nil {
				return err
			}
			_ = os.RemoveAll(bundle)
		}
	}
	return nil
}

// commit commits ten changes to the large image.
func (v *verbs) commit() error {
	bundle := filepath.Join(v.dir, "changed")
	if _, err := v.do("create", filepath.Base(v.image.dir), bundle); err != nil {
		return err
	}
	for round := range v.o.verbs {
		for n := range 10 {
			name := filepath.Join(bundle, "rootfs/etc", fmt.Sprint("changed-", n))
			if err := os.WriteFile(name, []byte(strings.Repeat(fmt.Sprint(round, n), 100)), 0o644); err != nil {
				return err
			}
		}
		if err := v.measured("commit of 10 changes", "commit", bundle, fmt.Sprint("changed:", round)); err != nil {
			return err
		}
	}
	_, err := v.do("rm", bundle)
	return err
}

// list lists a hundred names.
func (v *verbs) list() error {
	for n := range 100 {
		if _, err := v.do("tag", filepath.Base(v.deep.dir), fmt.Sprint("named:", n)); err != nil {
			return err
		}
	}
	for range v.o.verbs {
		if err := errors.Join(v.measured("images, over 100 of them", "images"), v.measured("--version", "--version")); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the large image and what was committed on it.
func (v *verbs) remove() error {
	for round := range v.o.verbs {
		if _, err := v.do("rmi", fmt.Sprint("changed:", round)); err != nil {
			return err
		}
	}
	if err := v.volume.sync(); err != nil {
		return err
	}
	return v.measured(fmt.Sprintf("rmi of %d MB", v.image.plain/1e6), "rmi", filepath.Base(v.image.dir))
}
