package process

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Diagnose is Explain with a look into the container for why its program could
// not be executed: pid is a process in it that still has its root, 0 for none.
// It reads regular files only, and no more than a program's headers. Where it
// finds nothing certain the hint stays the general one.
func (p *Plan) Diagnose(e *fault.Error, pid int) *fault.Error {
	out := p.Explain(e)
	if e == nil || e.Phase != fault.PhaseProcess || e.Op != opFind && e.Op != opExec || pid == 0 {
		return out
	}
	s, err := p.openScene(pid)
	if err != nil {
		return out
	}
	defer unix.Close(s.root)
	if hint := s.cause(p, e.Op, e.Errno); hint != "" {
		out.Hint = hint
	}
	return out
}

// scene is the container as the process that failed saw it.
type scene struct {
	root   int // O_PATH
	mounts string
	user   identity
	cwd    string
}

func (p *Plan) openScene(pid int) (*scene, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	root, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	read := func(name string) string {
		raw, _ := host.ReadFile(proc + "/" + name)
		return string(raw)
	}
	return &scene{root: root, mounts: read("mountinfo"), cwd: p.cwd, user: newIdentity(p, read("status"), read("uid_map"), read("gid_map"))}, nil
}

// cause is the hint for a failure, "" where it stays unknown.
func (s *scene) cause(p *Plan, op string, errno unix.Errno) string {
	name := p.program()
	if strings.Contains(name, "/") {
		return s.why(name, errno)
	}
	// A file that is not there is no news in a search: PATH says enough.
	if op == opFind && errno != unix.EACCES {
		return ""
	}
	for _, candidate := range p.candidates() {
		f, trouble := s.open(candidate)
		if f == nil && trouble.errno != unix.EACCES {
			continue
		}
		barred := f == nil || f.directory() || f.barred(s) != ""
		f.close()
		if op == opExec && barred {
			continue // walked past
		}
		if why := s.why(candidate, errno); why != "" {
			return candidate + ": " + why
		}
	}
	return ""
}

// why says what is wrong with a program that the kernel refuses with errno.
func (s *scene) why(name string, errno unix.Errno) string {
	if !path.IsAbs(name) {
		name = s.cwd + "/" + name
	}
	f, trouble := s.open(name)
	if f == nil {
		if trouble.errno != errno {
			return ""
		}
		return trouble.text
	}
	defer f.close()
	switch errno {
	case unix.EISDIR, unix.EACCES:
		if f.directory() {
			return "" // said already
		}
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENOEXEC, unix.ELIBBAD, unix.EIO, unix.EINVAL:
	default:
		return ""
	}
	if errno == unix.EACCES {
		if barred := f.barred(s); barred != "" {
			return "it " + barred
		}
	}
	return s.content(f, errno, nested)
}

// content looks for the reason in the file, and in what executes it.
func (s *scene) content(f *file, errno unix.Errno, depth int) string {
	format, ok := f.format()
	if !ok {
		return ""
	}
	if format.problem != "" {
		if errno == unix.ENOEXEC || errno == unix.EIO || errno == unix.ELIBBAD || errno == unix.ENOENT && format.script {
			return format.problem
		}
		return ""
	}
	if format.interpreter == "" {
		return ""
	}
	if depth == 0 {
		return "its interpreters are scripts that name each other"
	}
	return s.interpreter(format, errno, depth)
}

func (s *scene) interpreter(format format, errno unix.Errno, depth int) string {
	what, name := "its interpreter", format.interpreter
	if !format.script {
		what = "its loader"
	}
	if !path.IsAbs(name) {
		name = s.cwd + "/" + name
	}
	f, trouble := s.open(name)
	switch {
	case f == nil && trouble.errno != errno:
		return ""
	case f == nil && errno == unix.ENOENT:
		return missing(format, what, trouble)
	case f == nil:
		return what + " " + shown(format.interpreter) + ": " + trouble.text
	}
	defer f.close()
	if errno == unix.EACCES {
		if barred := f.barred(s); barred != "" {
			return what + " " + shown(format.interpreter) + " " + barred
		}
	}
	if why := s.content(f, errno, depth-1); why != "" {
		return what + " " + shown(format.interpreter) + ": " + why
	}
	return ""
}

// missing is an interpreter that the image does not have.
func missing(format format, what string, trouble trouble) string {
	if format.crlf {
		return "its #! line ends with CR LF, so that its interpreter is " + shown(format.interpreter) + ": save it with LF alone"
	}
	text := what + " " + shown(format.interpreter) + " is not in the image"
	if trouble.link != "" {
		text = what + " " + shown(format.interpreter) + ": " + trouble.text
	}
	switch lib := library(format.interpreter); {
	case format.script:
		return text
	case lib != "":
		return text + ": it was linked for " + lib + "; use an image with that, or link it statically"
	}
	return text + ": link it statically, or add the loader"
}

// trouble is why a path leads nowhere.
type trouble struct {
	errno unix.Errno
	text  string
	link  string // the symbolic link that led to it, "" for none
}

// file is a file of the image, held by an O_PATH descriptor.
type file struct {
	fd   int
	path string // without links
	st   unix.Stat_t
}

func (f *file) close() {
	if f != nil {
		unix.Close(f.fd)
	}
}

func (f *file) directory() bool { return f.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// linkLimit is how many links one path may have (path_resolution(7)).
const linkLimit = 40

// open follows a path as the kernel did, one name at a time, to say where it
// ends. Nothing leads out of the root: every name is opened inside it, without
// following a link.
func (s *scene) open(name string) (*file, trouble) {
	var at, link string // what is open; where the last link leads
	rest := strings.Split(name, "/")
	f, err := s.at("/")
	if err != nil {
		return nil, trouble{}
	}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if !f.directory() {
			f.close()
			return nil, trouble{unix.ENOTDIR, shown(at) + " is a file, not a directory", link}
		}
		if s.user.lacks(f) {
			text := "the directory " + shown(cmp.Or(at, "/")) + " (" + s.user.modeOf(f) + ") does not let user " + s.user.text + " through"
			f.close()
			return nil, trouble{unix.EACCES, text, link}
		}
		f.close()
		at = path.Join("/"+at, part)
		if f, err = s.at(at); err != nil {
			return nil, s.absent(at, link, len(rest) > 0, err)
		}
		if f.st.Mode&unix.S_IFMT != unix.S_IFLNK {
			continue
		}
		target, ok := f.readlink()
		f.close()
		if links++; links > linkLimit {
			return nil, trouble{unix.ELOOP, "its symbolic links go in a circle", link}
		}
		if !ok {
			return nil, trouble{}
		}
		link = "the symbolic link " + shown(at) + " leads to " + shown(target)
		if at = path.Dir(at); path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
		if f, err = s.at(at); err != nil {
			return nil, trouble{}
		}
	}
	f.path = at
	return f, trouble{}
}

// absent is a name that cannot be opened.
func (s *scene) absent(at, link string, inside bool, err error) trouble {
	if err != unix.ENOENT {
		return trouble{}
	}
	text := "the image has no such file; is the root file system complete?"
	if inside {
		text = "the image has no directory " + shown(at)
	}
	if link != "" {
		text = link + ", which is not there"
	}
	return trouble{unix.ENOENT, text, link}
}

// at opens a path without links.
func (s *scene) at(name string) (*file, error) {
	fd, err := host.OpenIn(s.root, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	f := &file{fd: fd, path: name}
	if err := unix.Fstat(fd, &f.st); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// readlink fails on procfs, whose links lead elsewhere for everybody.
func (f *file) readlink() (string, bool) {
	var fs unix.Statfs_t
	if unix.Fstatfs(f.fd, &fs) != nil || fs.Type == unix.PROC_SUPER_MAGIC {
		return "", false
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(f.fd, "", buf)
	return string(buf[:max(n, 0)]), err == nil && n > 0 && n < len(buf)
}

// barred says why the file may not be executed, "" where nothing speaks against
// it.
func (f *file) barred(s *scene) string {
	var fs unix.Statfs_t
	switch {
	case f.st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "is no regular file but " + kindOf(f.st.Mode)
	case unix.Fstatfs(f.fd, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0:
		return "lies on " + s.mountOf(f) + ", which has the option noexec"
	case f.st.Mode&0o111 == 0:
		return "has no execute permission (" + s.user.modeOf(f) + "): chmod +x"
	case s.user.lacks(f):
		return "may not be executed by user " + s.user.text + " (" + s.user.modeOf(f) + ")"
	}
	return ""
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// mountOf is "the mount PLACE" of the file, by the id that mountinfo has first
// on a line (proc(5)).
func (s *scene) mountOf(f *file) string {
	const unknown = "a mount"
	var st unix.Statx_t
	if unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return unknown
	}
	id := strconv.FormatUint(st.Mnt_id, 10)
	for line := range strings.Lines(s.mounts) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[0] == id {
			return "the mount " + shown(fields[4])
		}
	}
	return unknown
}

// format reads the beginning of a regular file. Of a file system in user space,
// which may never answer, it reads nothing.
func (f *file) format() (format, bool) {
	var fs unix.Statfs_t
	if f.st.Mode&unix.S_IFMT != unix.S_IFREG || unix.Fstatfs(f.fd, &fs) != nil || fs.Type == unix.FUSE_SUPER_MAGIC {
		return format{}, false
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(f.fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return format{}, false
	}
	defer unix.Close(fd)
	head := make([]byte, elfSize)
	n, err := unix.Pread(fd, head, 0)
	if err != nil {
		return format{}, false
	}
	out := readFormat(head[:n], f.st.Size)
	if out.loaderSize > 0 {
		name := make([]byte, out.loaderSize)
		if n, err := unix.Pread(fd, name, out.loaderAt); err != nil || n != len(name) {
			return format{}, false
		}
		before, _, _ := bytes.Cut(name, []byte{0})
		out.interpreter = string(before)
	}
	return out, true
}

// identity is whom the kernel asked for permission, in ids as this process sees
// them.
type identity struct {
	uid    uint32
	gids   []uint32
	caps   capSet // effective
	known  bool
	text   string // as config.json has it
	uidMap []mapping
	gidMap []mapping
}

type mapping struct{ inside, outside, count uint64 }

// newIdentity reads /proc/PID/status, uid_map and gid_map (proc(5)).
func newIdentity(p *Plan, status, uidMap, gidMap string) identity {
	id := identity{
		uidMap: parseMap(uidMap), gidMap: parseMap(gidMap),
		text: strconv.FormatUint(uint64(p.user.UID), 10) + ":" + strconv.FormatUint(uint64(p.user.GID), 10),
	}
	const uid, gid, groups, caps = 1, 2, 4, 8
	var seen int
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 5 && fields[0] == "Uid:": // the last is of file systems
			id.uid, seen = number(fields[4]), seen|uid
		case len(fields) == 5 && fields[0] == "Gid:":
			id.gids, seen = append(id.gids, number(fields[4])), seen|gid
		case len(fields) > 0 && fields[0] == "Groups:":
			for _, g := range fields[1:] {
				id.gids = append(id.gids, number(g))
			}
			seen |= groups
		case len(fields) == 2 && fields[0] == "CapEff:":
			n, err := strconv.ParseUint(fields[1], 16, 64)
			if err == nil {
				id.caps, seen = capSet(n), seen|caps
			}
		}
	}
	id.known = seen == uid|gid|groups|caps
	return id
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// parseMap reads /proc/PID/uid_map (user_namespaces(7)).
func parseMap(text string) []mapping {
	var out []mapping
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil
		}
		var n [3]uint64
		for i, f := range fields {
			var err error
			if n[i], err = strconv.ParseUint(f, 10, 32); err != nil {
				return nil
			}
		}
		out = append(out, mapping{n[0], n[1], n[2]})
	}
	return out
}

// inside is an id of the host as the container sees it.
func inside(maps []mapping, n uint32) string {
	for _, m := range maps {
		if uint64(n) >= m.outside && uint64(n)-m.outside < m.count {
			return strconv.FormatUint(uint64(n)-m.outside+m.inside, 10)
		}
	}
	return "unmapped"
}

// lacks tells whether the mode keeps the user from executing the file or going
// through the directory. Where an access list or a capability may decide, it
// tells false.
func (id *identity) lacks(f *file) bool {
	if !id.known || id.caps.has(capDACOverride) || f.directory() && id.caps.has(capDACReadSearch) || f.hasACL() {
		return false
	}
	class := uint32(0o001)
	switch {
	case id.uid == f.st.Uid:
		class = 0o100
	case slices.Contains(id.gids, f.st.Gid):
		class = 0o010
	}
	return f.st.Mode&class == 0
}

// Capabilities that are asked where the mode forbids (capabilities(7)).
const (
	capDACOverride   = 1
	capDACReadSearch = 2
)

// hasACL tells whether the file has an access list (acl(5)): its mode is not all
// that counts then.
func (f *file) hasACL() bool {
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(f.fd), "system.posix_acl_access", nil)
	return err == nil && n > 0
}

// modeOf is "mode 0750, owner 0:0".
func (id *identity) modeOf(f *file) string {
	return "mode 0" + octal(f.st.Mode&0o777) + ", owner " + inside(id.uidMap, f.st.Uid) + ":" + inside(id.gidMap, f.st.Gid)
}

// shown is an image's name in a message: as it is where nothing in it is
// strange, else in quotes with escapes.
func shown(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }) {
		return fault.Brief(s)
	}
	return strconv.QuoteToASCII(fault.Brief(s))
}
