package overlay

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// MadeUp is the directories, clean relative paths and "" for the root, that a
// layer has only because of what is in them: nothing in it says what they are.
// The key is the layer's place in a stack.
type MadeUp map[int][]string

// Parents returns the directories that have to lie on top of a stack for its
// made-up directories to show what the layers below say of them: mode, owner,
// time and attributes of the topmost directory of that name that is not made up
// and not hidden, or 0755, root's and 1970 where there is none. Only those are
// in it that would show something else, and what leads to them; most stacks
// need none. The order is that in which they can be made.
func Parents(s *Stack, made MadeUp) ([]*Node, error) {
	need := map[string]*Node{}
	for _, name := range made.paths() {
		node, differs, err := s.effective(name, made)
		if err != nil {
			return nil, err
		}
		if differs {
			need[name] = node
		}
	}
	for name := range need {
		for dir := name; dir != ""; {
			dir = parent(dir)
			if need[dir] != nil {
				break
			}
			node, _, err := s.effective(dir, made)
			if err != nil {
				return nil, err
			}
			need[dir] = node
		}
	}
	out := make([]*Node, 0, len(need))
	for _, n := range need {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *Node) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// paths is every directory that some layer made up, once.
func (m MadeUp) paths() []string {
	var out []string
	for _, list := range m {
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// effective is what the stack has to show of a directory, and whether it shows
// something else by itself. nil: the stack does not show a directory there.
func (s *Stack) effective(name string, made MadeUp) (*Node, bool, error) {
	_, shown, err := s.find(name, nil)
	if err != nil || shown == nil || shown.Kind != member.Dir {
		return nil, false, err
	}
	// An opaque directory hides what is in those below, not what they are.
	alive, err := s.parents(name, nil)
	if err != nil {
		return nil, false, err
	}
	for _, layer := range alive {
		node, err := s.Layers[layer].Node(name)
		if err != nil {
			return nil, false, err
		}
		if node == nil || node.Kind == member.Dir && slices.Contains(made[layer], name) {
			continue
		}
		if node.Kind != member.Dir {
			break
		}
		return node, !sameDir(node, shown), nil
	}
	node := &Node{Member: member.Member{Path: name, Kind: member.Dir, Mode: 0o755, MTime: time.Unix(0, 0)}}
	return node, !sameDir(node, shown), nil
}

func sameDir(a, b *Node) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime.Equal(b.MTime) &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y member.Xattr) bool {
			return x.Name == y.Name && string(x.Value) == string(y.Value)
		})
}

// MakeParents makes the directories of Parents below dir, which has to exist
// and be empty, as a layer to be put on top of the others. With userXattr its
// marks are for the overlay of an ordinary user.
func MakeParents(dir string, nodes []*Node, userXattr bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.From(err, "open", dir)
	}
	defer root.Close()
	for _, n := range nodes {
		if n.Path == "" {
			continue
		}
		if err := root.Mkdir(n.Path, 0o700); err != nil {
			return fault.From(err, "mkdir", dir+"/"+n.Path)
		}
	}
	for _, n := range slices.Backward(nodes) { // the times of a directory last
		if err := setBelow(root, n, userXattr); err != nil {
			return fault.From(err, "set the metadata of", dir+"/"+n.Path)
		}
	}
	return nil
}

// setBelow is setDir for a path that may be longer than PATH_MAX.
func setBelow(root *os.Root, n *Node, userXattr bool) error {
	f, err := root.Open(cmp.Or(n.Path, "."))
	if err != nil {
		return err
	}
	defer f.Close()
	return setDir(procFD(int(f.Fd()))+"/.", n, userXattr)
}

// SetDir gives a directory what a node says, such as the upper directory what
// the root of the layers shows: an overlay shows its root as the topmost layer
// has it.
func SetDir(dir string, n *Node, userXattr bool) error {
	if err := setDir(dir, n, userXattr); err != nil {
		return fault.From(err, "set the metadata of", dir)
	}
	return nil
}

func setDir(file string, n *Node, userXattr bool) error {
	if err := unix.Lchown(file, int(n.UID), int(n.GID)); err != nil {
		return err
	}
	for _, x := range n.Xattrs {
		if err := unix.Lsetxattr(file, EscapeXattr(x.Name, userXattr), x.Value, 0); err != nil {
			return err
		}
	}
	if err := unix.Chmod(file, n.Mode); err != nil {
		return err
	}
	at := unix.NsecToTimespec(n.MTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// EscapeXattr is the name of an attribute of the image as a layer keeps it, so
// that the overlay shows it instead of taking it for a mark of its own.
func EscapeXattr(name string, userXattr bool) string {
	prefix := "trusted.overlay."
	if userXattr {
		prefix = "user.overlay."
	}
	if rest, ok := strings.CutPrefix(name, prefix); ok {
		return prefix + "overlay." + rest
	}
	return name
}
