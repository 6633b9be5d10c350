package unpack

import "strings"

// Attributes of overlayfs, behind trusted.overlay. or user.overlay. (Linux, Documentation/filesystems/overlayfs.rst,
// "whiteouts and opaque directories", "Nesting overlayfs mounts").
const (
	opaqueAttr   = "opaque"
	opaqueYes    = "y"
	opaqueMixed  = "x" // not opaque: look for whiteouts that are attributes
	whiteoutAttr = "whiteout"
	originAttr   = "origin" // where a directory was copied up from; empty if unknown
	escape       = "overlay."
)

// prefix is how the names of overlayfs's own attributes begin.
func (o *Options) prefix() string {
	if o.UserXattr {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// escaped is the name under which an attribute of the layer is kept, for overlayfs to show it under its own.
func (o *Options) escaped(name string) string {
	if rest, ok := strings.CutPrefix(name, o.prefix()); ok {
		return o.prefix() + escape + rest
	}
	return name
}

// unescaped is the inverse; ok is false for overlayfs's own attributes.
func (o *Options) unescaped(name string) (content string, ok bool) {
	rest, own := strings.CutPrefix(name, o.prefix())
	if !own {
		return name, true
	}
	rest, ok = strings.CutPrefix(rest, escape)
	return o.prefix() + rest, ok
}
