package bundle

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// checker collects complaints while the rules go through a Spec.
type checker struct {
	spec  *specs.Spec
	ns    namespaces
	trail trail
	list  fault.List
}

// Check holds a Spec to the rules of config.md and config-linux.md that do
// not depend on the machine, and to those of the kernel's own that no machine
// lets pass. It looks at nothing but the Spec. The complaints come in the
// order of the specs.Spec fields; Bundle.Check sorts them as the document is.
func Check(spec *specs.Spec) fault.List {
	c := &checker{spec: spec, ns: namespacesOf(spec)}
	c.version()
	if spec.Process != nil {
		c.within("process", func() { c.process(spec.Process) })
	}
	c.root()
	c.utsName("hostname", spec.Hostname)
	c.utsName("domainname", spec.Domainname)
	c.mounts(spec.Mounts)
	if spec.Hooks != nil {
		c.within("hooks", func() { c.hooks(spec.Hooks) })
	}
	c.annotations()
	if spec.Linux != nil {
		c.within("linux", func() { c.linux(spec.Linux) })
	}
	return c.list
}

// bad complains about the entry with this key below the current one; "" is
// the current one itself.
func (c *checker) bad(key, hint, format string, args ...any) {
	p := c.trail.pointer()
	if key != "" {
		p = p.At(key)
	}
	c.complain(p, hint, fmt.Sprintf(format, inBrief(args)...))
}

// inBrief shortens the texts among a message's arguments.
func inBrief(args []any) []any {
	for i, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.String {
			args[i] = brief(v.String())
		}
	}
	return args
}

// badAt complains about element i of the array with this key below the
// current entry.
func (c *checker) badAt(key string, i int, hint, format string, args ...any) {
	c.complain(c.trail.under(key).Index(i), hint, fmt.Sprintf(format, inBrief(args)...))
}

func (c *checker) complain(p fault.Pointer, hint, msg string) {
	if len(c.list) < maxComplaints {
		c.list = append(c.list, &fault.Error{Op: "check", Field: p, Msg: msg, Hint: hint, Phase: fault.PhaseConfig})
	}
}

// within applies rules to the entry with this key.
func (c *checker) within(key string, rules func()) {
	c.trail.enter(key)
	rules()
	c.trail.leave()
}

// each applies a rule to each element of the array with this key.
func each[T any](c *checker, key string, items []T, rule func(*checker, *T)) {
	c.trail.enter(key)
	c.trail.enterArray()
	for i := range items {
		c.trail.at(i)
		rule(c, &items[i])
	}
	c.trail.leave()
	c.trail.leave()
}

// index is the current element's, inside each.
func (c *checker) index() int { return c.trail[len(c.trail)-1].index }

// sorted returns a map's keys in an order that does not change.
func sorted[T any](m map[string]T) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

// text complains about a NUL byte in a string that the kernel will read.
func (c *checker) text(key, value string) bool {
	if strings.IndexByte(value, 0) < 0 {
		return true
	}
	c.bad(key, "", "holds a NUL byte")
	return false
}

// texts is text for an array of strings.
func (c *checker) texts(key string, values []string) {
	for i, s := range values {
		if strings.IndexByte(s, 0) >= 0 {
			c.badAt(key, i, "", "holds a NUL byte")
		}
	}
}

// absolute complains about a path that is not absolute.
func (c *checker) absolute(key, path string) {
	switch {
	case path == "":
		c.bad(key, "", "must be an absolute path, and is missing or empty")
	case path[0] != '/':
		c.bad(key, "begin it with /", "must be an absolute path, not %q", path)
	default:
		c.text(key, path)
	}
}

// absolutes is absolute for an array of paths.
func (c *checker) absolutes(key string, paths []string) {
	for i, p := range paths {
		if !strings.HasPrefix(p, "/") {
			c.badAt(key, i, "begin it with /", "must be an absolute path, not %q", p)
		}
	}
	c.texts(key, paths)
}

// version: "MUST be in SemVer v2.0.0 format" (config.md, Specification
// version). Within a major version configurations stay compatible.
func (c *checker) version() {
	v := c.spec.Version
	major, ok := semver(v)
	switch {
	case v == "":
		c.bad("ociVersion", "add \"ociVersion\": \""+specs.Version+"\"", "is required, and is missing or empty")
	case !ok:
		c.bad("ociVersion", "write it as in \""+specs.Version+"\"", "must be a semantic version, not %q", v)
	case major != "1":
		c.bad("ociVersion", "", "must be a version 1.x of the runtime specification, not %q", v)
	}
}

// semver splits the major number from a semantic version (semver.org 2.0.0,
// items 2, 9 and 10).
func semver(s string) (major string, ok bool) {
	s, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(s, "-")
	numbers := strings.Split(core, ".")
	ok = len(numbers) == 3 && !slices.ContainsFunc(numbers, notNumber) &&
		(!hasPre || identifiers(pre)) && (!hasBuild || identifiers(build))
	return numbers[0], ok
}

func notNumber(s string) bool {
	return s == "" || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != ""
}

func identifiers(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsFunc(part, notIdentifier) {
			return false
		}
	}
	return true
}

func notIdentifier(r rune) bool {
	return !(r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

// root: REQUIRED on Linux, path REQUIRED (config.md, Root).
func (c *checker) root() {
	const hint = `add "root": {"path": "rootfs"}`
	if c.spec.Root == nil {
		c.bad("root", hint, "is required")
		return
	}
	c.within("root", func() {
		if c.spec.Root.Path == "" {
			c.bad("path", hint, "is required, and is missing or empty")
		}
		c.text("path", c.spec.Root.Path)
	})
}

// maxUTSName is __NEW_UTS_LEN of the kernel's utsname.h, in bytes.
const maxUTSName = 64

// utsName: a name that is set without a uts namespace would rename the host.
func (c *checker) utsName(key, name string) {
	switch {
	case name == "":
		return
	case !c.ns.has(specs.UTSNamespace):
		c.bad(key, `add {"type": "uts"} to linux.namespaces, or remove `+key, "needs a uts namespace: it would be set on the host")
	case len(name) > maxUTSName:
		c.bad(key, "", "must have at most %d bytes, not %d", maxUTSName, len(name))
	}
	c.text(key, name)
}

// maxMounts is the kernel's fs.mount-max (fs/namespace.c): how many mounts a
// mount namespace holds unless somebody changed that.
const maxMounts = 100000

func (c *checker) mounts(list []specs.Mount) {
	if len(list) >= maxMounts {
		c.bad("mounts", "mount a directory above several of them", "must have fewer than %d entries, not %d", maxMounts, len(list))
		return
	}
	each(c, "mounts", list, (*checker).mount)
}

// mount: destination REQUIRED, and may be relative although that is
// deprecated (config.md, Mounts).
func (c *checker) mount(m *specs.Mount) {
	if m.Destination == "" {
		c.bad("destination", "", "is required, and is missing or empty")
	}
	c.text("destination", m.Destination)
	c.text("type", m.Type)
	c.text("source", m.Source)
	c.texts("options", m.Options)
	c.mountMappings(m)
}

// mountMappings: uidMappings and gidMappings come together, and an idmap
// without them uses those of the container's user namespace, which then must
// exist (config.md, Mounts).
func (c *checker) mountMappings(m *specs.Mount) {
	uids, gids := len(m.UIDMappings) != 0, len(m.GIDMappings) != 0
	switch {
	case uids && !gids:
		c.bad("gidMappings", "map the groups as well", "is required with uidMappings")
	case gids && !uids:
		c.bad("uidMappings", "map the users as well", "is required with gidMappings")
	case !uids && !c.ns.has(specs.UserNamespace):
		c.idmapWithoutMappings(m.Options)
	}
	c.mappings("uidMappings", m.UIDMappings)
	c.mappings("gidMappings", m.GIDMappings)
}

func (c *checker) idmapWithoutMappings(options []string) {
	for i, o := range options {
		if o == "idmap" || o == "ridmap" {
			c.badAt("options", i, "add uidMappings and gidMappings to the mount",
				"%s has no mapping to use: the mount has none, and the container has no user namespace", o)
		}
	}
}

func (c *checker) hooks(h *specs.Hooks) {
	//lint:ignore SA1019 deprecated, but a part of the specification
	each(c, "prestart", h.Prestart, (*checker).hook)
	each(c, "createRuntime", h.CreateRuntime, (*checker).hook)
	each(c, "createContainer", h.CreateContainer, (*checker).hook)
	each(c, "startContainer", h.StartContainer, (*checker).hook)
	each(c, "poststart", h.Poststart, (*checker).hook)
	each(c, "poststop", h.Poststop, (*checker).hook)
}

// hook: "path MUST be absolute", "if set, timeout MUST be greater than zero"
// (config.md, POSIX-platform Hooks).
func (c *checker) hook(h *specs.Hook) {
	c.absolute("path", h.Path)
	c.texts("args", h.Args)
	c.texts("env", h.Env)
	if h.Timeout != nil && *h.Timeout <= 0 {
		c.bad("timeout", "remove it to wait without end", "must be greater than zero seconds, not %d", *h.Timeout)
	}
}

// annotations: "Keys MUST NOT be an empty string" (config.md, Annotations).
func (c *checker) annotations() {
	if _, ok := c.spec.Annotations[""]; ok {
		c.complain(fault.Pointer("").At("annotations", ""), "", "an annotation's key must not be empty")
	}
}
