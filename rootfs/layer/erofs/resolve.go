package erofs

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Limits of a walk: the kernel's number of symbolic links (MAXSYMLINKS), and twice the directories that a path of
// PATH_MAX can name.
const (
	maxLinks = 40
	maxDepth = 4096
)

var (
	errLoop = errors.New("too many levels of symbolic links in the path")
	errDeep = fmt.Errorf("more than %d directories deep", maxDepth)
	errLong = fmt.Errorf("a part of the name is longer than %d bytes", maxName)
)

// split returns the directory that holds what clean path names, and its name there.
func (b *Builder) split(clean string) (ref, string, error) {
	dir, name := path.Split(clean)
	switch {
	case name == "":
		return 0, "", errors.New("the layer's root must be a directory")
	case len(name) > maxName:
		return 0, "", errLong
	}
	r, err := b.directory(strings.TrimSuffix(dir, "/"))
	return r, name, err
}

// directory returns the directory that clean path names within the layer. Symbolic links of the layer are followed as
// if its root were "/"; directories that are missing are made up.
func (b *Builder) directory(clean string) (ref, error) {
	if b.parent.path == clean {
		return b.parent.dir, nil
	}
	r, err := b.walk(clean, func(dir ref, name string) (ref, error) {
		if len(name) > maxName {
			return 0, errLong
		}
		r := b.named(dir, name)
		n := b.tree.at(r)
		n.kind, n.marks, n.attr = kindDir, n.marks|madeUp, b.attrs.number(attr{mode: 0o755})
		return r, nil
	})
	if err == nil {
		b.parent.path, b.parent.dir = clean, r
	}
	return r, err
}

// find returns what clean path names, a symbolic link itself if it is one; 0 if there is nothing.
func (b *Builder) find(clean string) ref {
	dir, name := path.Split(clean)
	r, err := b.walk(strings.TrimSuffix(dir, "/"), func(ref, string) (ref, error) { return 0, errors.New("missing") })
	if err != nil {
		return 0
	}
	if name == "" {
		return root
	}
	if r = b.tree.child(r, []byte(name)); r == 0 || b.tree.at(r).kind == kindAbsent {
		return 0
	}
	return r
}

// walk goes to the directory that p names, below the root; missing says what to do for a name that is not there.
func (b *Builder) walk(p string, missing func(dir ref, name string) (ref, error)) (ref, error) {
	dir, links, depth := root, 0, 0
	for p != "" {
		var name string
		name, p, _ = strings.Cut(p, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			dir, depth = b.tree.at(dir).parent, max(0, depth-1)
			continue
		}
		if depth == maxDepth {
			return 0, errDeep
		}
		r := b.tree.child(dir, []byte(name))
		k := kindAbsent
		if r != 0 {
			r = b.tree.inode(r)
			k = b.tree.at(r).kind
		}
		switch k {
		case kindAbsent:
			r, err := missing(dir, name)
			if err != nil {
				return 0, err
			}
			dir, depth = r, depth+1
		case kindDir:
			dir, depth = r, depth+1
		case kindSymlink:
			if links++; links > maxLinks {
				return 0, errLoop
			}
			n := b.tree.at(r)
			to := string(b.text.get(n.data, int(n.size)))
			if strings.HasPrefix(to, "/") {
				dir, depth = root, 0
			}
			p = to + "/" + p
		default:
			return 0, fmt.Errorf("/%s is in its path and is no directory", b.tree.path(r))
		}
	}
	return dir, nil
}
