package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options says what is not compared; security.selinux never is: the machine's policy has a say in it.
type Options struct {
	NoMTime  bool
	NoOwner  bool
	NoXattrs []string // names; one that ends in "." stands for all that begin so
	// Loose does not compare the metadata of directories that no layer lists, and the time of those that the topmost layer
	// does not list: the image specification is silent there.
	Loose bool
}

// Diff says in readable lines how got differs from want; nothing where they are the same.
func Diff(want, got []Entry, o Options) []string {
	var lines []string
	for len(want) > 0 || len(got) > 0 {
		order := 0
		switch {
		case len(want) == 0:
			order = 1
		case len(got) == 0:
			order = -1
		default:
			order = Compare(want[0].Path, got[0].Path)
		}
		switch {
		case order < 0:
			lines = append(lines, fmt.Sprintf("%s: missing (%s)", want[0].Path, brief(want[0])))
			want = want[1:]
		case order > 0:
			lines = append(lines, fmt.Sprintf("%s: should not be there (%s)", got[0].Path, brief(got[0])))
			got = got[1:]
		default:
			for _, what := range o.differences(&want[0], &got[0]) {
				lines = append(lines, fmt.Sprintf("%s: %s", want[0].Path, what))
			}
			want, got = want[1:], got[1:]
		}
	}
	return lines
}

func (o Options) differences(want, got *Entry) []string {
	if want.Type != got.Type {
		return []string{fmt.Sprintf("is a %s, not a %s", got.Type, want.Type)}
	}
	var out []string
	differ := func(what string, want, got any) {
		out = append(out, fmt.Sprintf("%s %v, not %v", what, got, want))
	}
	nobodys := o.Loose && want.MadeUp
	if want.Mode != got.Mode && want.Type != Symlink && !nobodys {
		differ("mode", want.Mode, got.Mode)
	}
	if (want.UID != got.UID || want.GID != got.GID) && !o.NoOwner && !nobodys {
		differ("owner", owner(want), owner(got))
	}
	if want.MTime != got.MTime && !o.NoMTime && !nobodys && !(o.Loose && want.Inherited) {
		differ("mtime", want.MTime, got.MTime)
	}
	if want.Size != got.Size {
		differ("size", want.Size, got.Size)
	} else if want.SHA256 != got.SHA256 {
		differ("content", want.SHA256, got.SHA256)
	}
	if want.Target != got.Target {
		differ("target", want.Target, got.Target)
	}
	if want.Major != got.Major || want.Minor != got.Minor {
		differ("device", fmt.Sprint(want.Major, ":", want.Minor), fmt.Sprint(got.Major, ":", got.Minor))
	}
	if want.Link != got.Link {
		differ("hard link of", orNothing(want.Link), orNothing(got.Link))
	}
	for _, name := range o.xattrNames(want, got) {
		w, inWant := want.Xattrs[name]
		g, inGot := got.Xattrs[name]
		switch {
		case !inGot:
			out = append(out, fmt.Sprintf("xattr %s missing", name))
		case !inWant:
			out = append(out, fmt.Sprintf("xattr %s=%s should not be there", name, g))
		case w != g:
			differ("xattr "+name, w, g)
		}
	}
	return out
}

func (o Options) xattrNames(a, b *Entry) []string {
	if len(a.Xattrs) == 0 && len(b.Xattrs) == 0 {
		return nil
	}
	names := map[string]bool{}
	for name := range a.Xattrs {
		names[name] = true
	}
	for name := range b.Xattrs {
		names[name] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(names)), o.ignored)
}

func (o Options) ignored(name string) bool {
	return name == "security.selinux" || slices.ContainsFunc(o.NoXattrs, func(no string) bool {
		return name == no || strings.HasSuffix(no, ".") && strings.HasPrefix(name, no)
	})
}

func brief(e Entry) string { return fmt.Sprintf("%s %s %s", e.Type, e.Mode, owner(&e)) }

func owner(e *Entry) string { return fmt.Sprintf("%d:%d", e.UID, e.GID) }

func orNothing(n Name) string {
	if n == "" {
		return "nothing"
	}
	return n.String()
}
