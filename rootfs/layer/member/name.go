package member

import (
	"errors"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."         // image-spec, layer.md, Whiteouts
	aufsPrefix     = ".wh..wh."     // aufs keeps its own files under such names; they are no content
	opaqueName     = ".wh..wh..opq" // image-spec, layer.md, Opaque Whiteout
	nameMax        = 255            // NAME_MAX
	symlinkMax     = 4095           // PATH_MAX less the NUL
)

// cleanName returns the clean path below the layer's root that a tar header means by name.
func cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case strings.IndexByte(name, 0) >= 0:
		return "", errors.New("a NUL in the name")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == ".":
		return "", nil
	case clean == "..", strings.HasPrefix(clean, "../"):
		return "", errors.New("the name climbs out of the layer's root")
	}
	return clean, checkLengths(clean)
}

// checkLengths holds every component to what a file system can store. The prefix of a whiteout does not count: it is
// not stored.
func checkLengths(clean string) error {
	if len(clean) <= nameMax {
		return nil
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > nameMax && len(strings.TrimPrefix(part, whiteoutPrefix)) > nameMax {
			return errors.New("a part of the name is longer than 255 bytes")
		}
	}
	return nil
}

// whiteout tells the markers among clean paths: Whiteout or Opaque with the path that is meant, or ignored for the
// files of aufs; for every other path it returns File.
func whiteout(clean string) (meant string, kind Kind, ignored bool, err error) {
	if !strings.Contains(clean, whiteoutPrefix) {
		return clean, File, false, nil
	}
	dir, base := path.Split(clean)
	dir = strings.TrimSuffix(dir, "/")
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, aufsPrefix) {
			return "", File, true, nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return "", File, false, errors.New("a whiteout has nothing below it")
		}
	}
	name, marked := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !marked:
		return clean, File, false, nil
	case base == opaqueName:
		return dir, Opaque, false, nil
	case strings.HasPrefix(base, aufsPrefix):
		return "", File, true, nil
	case name == "", name == ".", name == "..":
		return "", File, false, errors.New("a whiteout of no name")
	}
	return path.Join(dir, name), Whiteout, false, nil
}
