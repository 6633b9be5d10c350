package ref

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Distribution specification, "Pulling manifests": the grammar of names and tags. The one of ref.name is in the image
// specification, annotations.md. They are compiled when they are needed: at every start that would take half a millisecond.
var (
	component  = grammar(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	tagGrammar = grammar(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`) // and at most 128 long
	refName    = grammar(`^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*$`)
	label      = grammar(`^[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?$`) // of a host name, at most 63 long
)

func grammar(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

func badComponent(s string) string {
	switch {
	case s == "":
		return "empty"
	case s == "." || s == "..":
		return "no place for a relative path"
	case component().MatchString(s):
		return ""
	case s != strings.ToLower(s):
		return "has capitals; repository names are in small letters"
	}
	return "not letters and digits with single '.', '_', '__' or '-' between them"
}

func badTag(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) > 128:
		return "longer than 128 characters"
	case !tagGrammar().MatchString(s):
		return "not letters, digits, '_', '.' and '-', beginning with one of the first three"
	}
	return ""
}

func badRefName(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) > 255:
		return "longer than 255 characters"
	case tagGrammar().MatchString(s), refName().MatchString(s):
		return ""
	}
	return "not what the image specification allows in org.opencontainers.image.ref.name"
}

func badHost(s string) string {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		name, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "the port is not a number from 1 to 65535"
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !closed || err != nil || !a.Is6() || a.Zone() != "" {
			return "not an IPv6 address in brackets"
		}
		return ""
	}
	if len(name) > 253 {
		return "longer than 253 characters"
	}
	for part := range strings.SplitSeq(name, ".") {
		if len(part) > 63 || !label().MatchString(part) {
			return "not a host name"
		}
	}
	return ""
}
