package process

import (
	"slices"
	"strings"
)

// sysctl is one kernel parameter: the key as given, its path below /proc/sys,
// and its value.
type sysctl struct{ key, path, value string }

func planSysctl(params map[string]string) []sysctl {
	out := make([]sysctl, 0, len(params))
	for key, value := range params {
		path := sysctlPath(key)
		if path != "" {
			out = append(out, sysctl{key, path, value})
		}
	}
	slices.SortFunc(out, func(a, b sysctl) int { return strings.Compare(a.key, b.key) })
	return out
}

// sysctlPath is the path of a kernel parameter below /proc/sys, or "" where
// the key names none. Whichever of '.' and '/' comes first in the key
// separates its parts, and the other one stands for itself with the roles
// exchanged: "net.ipv4.conf.eth0/1.forwarding" is of interface eth0.1
// (sysctl.d(5)).
func sysctlPath(key string) string {
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return ""
		}
	}
	return path
}
