package cases

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// differs says what of an expected member an entry has not.
func differs(line stack.Line, e *tree.Entry) []string {
	var wrong []string
	differ := func(what, want, got string) {
		if want != got {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", what, got, want))
		}
	}
	differ("type", line.Verb, string(e.Type))
	switch line.Verb {
	case "file":
		if len(line.Args) > 1 {
			differ("content", digest(line.Arg(1)), e.SHA256)
		}
	case "symlink":
		differ("target", line.Arg(1), string(e.Target))
	case "char", "block":
		differ("device", line.Arg(1)+":"+line.Arg(2), fmt.Sprintf("%d:%d", e.Major, e.Minor))
	}
	for _, a := range line.Attrs {
		xattr, isXattr := strings.CutPrefix(a.Key, "xattr:")
		gone, isGone := strings.CutPrefix(a.Key, "noxattr:")
		switch {
		case a.Key == "mode":
			differ("mode", a.Value, e.Mode.String())
		case a.Key == "uid":
			differ("uid", a.Value, fmt.Sprint(e.UID))
		case a.Key == "gid":
			differ("gid", a.Value, fmt.Sprint(e.GID))
		case a.Key == "mtime":
			differ("mtime", a.Value, e.MTime.String())
		case a.Key == "size":
			differ("size", a.Value, fmt.Sprint(e.Size))
		case a.Key == "sha256":
			differ("sha256", a.Value, e.SHA256)
		case isXattr:
			value, ok := e.Xattrs[xattr]
			differ(a.Key, fmt.Sprintf("%v %q", true, a.Value), fmt.Sprintf("%v %q", ok, string(value)))
		case isGone:
			_, ok := e.Xattrs[gone]
			differ(gone, "false", fmt.Sprint(ok))
		default:
			wrong = append(wrong, a.Key+" cannot be expected")
		}
	}
	return wrong
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}
