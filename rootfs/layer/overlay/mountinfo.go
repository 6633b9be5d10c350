package overlay

import (
	"os"
	"strings"

	"berth/libcontainer/fault"
)

// mounted is a mount as mountinfo has it.
type mounted struct{ point, kind, source string }

// mountsAt returns what is mounted on a path without links, the topmost last.
// A line of mountinfo has no limit: an overlay of 500 layers has them all in it.
func mountsAt(path string) ([]mounted, error) {
	const file = "/proc/self/mountinfo"
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.From(err, "read", file)
	}
	return parseMounts(string(raw), path), nil
}

// parseMounts picks the mounts on path (proc_pid_mountinfo(5)).
func parseMounts(mountinfo, path string) []mounted {
	var out []mounted
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left := strings.SplitN(before, " ", 6)
		right := strings.SplitN(after, " ", 3)
		if ok && len(left) > 4 && len(right) > 1 && unescape.Replace(left[4]) == path {
			out = append(out, mounted{path, right[0], unescape.Replace(right[1])})
		}
	}
	return out
}

// unescape undoes what the kernel does to blanks, line ends, backslashes and
// '#'.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")
