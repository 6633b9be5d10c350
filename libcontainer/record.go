package libcontainer

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/libcontainer/intelrdt"
	"berth/nsenter"
)

// What encoding/json builds for a type before it writes the first byte costs
// more than all else that is done with the record, in every single command. So
// a record is written and read field by field; a test holds both to what
// encoding/json does with the same struct.

// encode is the record as JSON.
func (r *record) encode() []byte {
	w := &jsonWriter{out: make([]byte, 0, 4096)}
	w.open('{')
	w.text("ociVersion", r.OCIVersion)
	w.text("id", r.ID)
	w.number("pid", uint64(r.PID))
	w.number("startTime", r.StartTime)
	w.text("bundle", r.Bundle)
	w.text("rootfs", r.Rootfs)
	w.text("created", r.Created.Format(time.RFC3339Nano))
	if r.Boot != "" {
		w.text("boot", r.Boot)
	}
	w.number("uid", uint64(r.UID))
	if len(r.Annotations) > 0 {
		w.key("annotations")
		w.open('{')
		for _, k := range sortedKeys(r.Annotations) {
			w.text(k, r.Annotations[k])
		}
		w.close('}')
	}
	w.key("cgroup")
	encodeGroup(w, r.Cgroup)
	if r.Resctrl.Tasks != nil {
		w.key("resctrl")
		encodeResctrl(w, r.Resctrl)
	}
	if r.HostMount != 0 {
		w.number("hostMount", r.HostMount)
	}
	w.flag("ownPids", r.OwnPIDs)
	w.flag("process", r.Process)
	w.texts("hooks", r.Hooks)
	w.texts("namespaces", r.Namespaces)
	w.flag("noKeyring", r.NoKeyring)
	w.texts("stdio", r.Stdio)
	if r.Exec != nil {
		w.key("exec")
		encodeTail(w, r.Exec)
	}
	w.close('}')
	return w.out
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func encodeGroup(w *jsonWriter, s cgroups.State) {
	w.open('{')
	if len(s.Dirs) > 0 {
		w.key("dirs")
		w.open('[')
		for _, d := range s.Dirs {
			w.item()
			encodeDir(w, d)
		}
		w.close(']')
	}
	w.texts("above", s.Above)
	if s.Unit != "" {
		w.text("unit", s.Unit)
	}
	w.flag("userUnit", s.UserUnit)
	w.close('}')
}

func encodeResctrl(w *jsonWriter, s intelrdt.State) {
	w.open('{')
	w.texts("tasks", s.Tasks)
	w.texts("remove", s.Remove)
	if s.Shared != "" {
		w.text("shared", s.Shared)
	}
	w.close('}')
}

func encodeDir(w *jsonWriter, d cgroups.Dir) {
	w.open('{')
	w.text("path", d.Path)
	w.text("mountpoint", d.Mountpoint)
	w.texts("controllers", d.Controllers)
	w.flag("v2", d.V2)
	w.texts("inherit", d.Inherit)
	w.texts("enable", d.Enable)
	w.close('}')
}

func encodeTail(w *jsonWriter, t *nsenter.Tail) {
	w.open('{')
	w.number("first", uint64(t.First))
	w.key("steps")
	w.open('[')
	for _, s := range t.Steps {
		w.item()
		w.open('{')
		w.number("call", uint64(s.Call))
		w.key("origin")
		w.open('{')
		w.text("Field", string(s.Origin.Field))
		w.text("Op", s.Origin.Op)
		w.text("Path", s.Origin.Path)
		w.text("Phase", string(s.Origin.Phase))
		w.close('}')
		w.close('}')
	}
	w.close(']')
	w.close('}')
}

// decode reads what encode has written. Whatever it does not know like that,
// such as a string with other escapes, is left to encoding/json.
func (r *record) decode(raw []byte) error {
	d := &jsonReader{in: string(raw)}
	var got record
	d.object(func(key string) { got.field(d, key) })
	if !d.bad && d.at == len(d.in) {
		*r = got
		return nil
	}
	return json.Unmarshal(raw, r)
}

// check refuses a record that no container has: what it names is killed,
// removed and unmounted.
func (r *record) check(id string) error {
	switch {
	case r.ID != id:
		return fmt.Errorf("it is of container %q", r.ID)
	case r.PID < 0 || r.PID > maxPID:
		return fmt.Errorf("%d is no process's id", r.PID)
	case r.HostMount != 0 && !filepath.IsAbs(r.Rootfs):
		return fmt.Errorf("the root file system is at %q", r.Rootfs)
	}
	for _, d := range r.Cgroup.Dirs {
		if !inside(d.Path, d.Mountpoint) {
			return fmt.Errorf("%q is no group below %q", d.Path, d.Mountpoint)
		}
	}
	for _, above := range r.Cgroup.Above {
		if !slices.ContainsFunc(r.Cgroup.Dirs, func(d cgroups.Dir) bool { return inside(above, d.Mountpoint) }) {
			return fmt.Errorf("%q is above no group", above)
		}
	}
	return nil
}

// maxPID is the kernel's PID_MAX_LIMIT (linux/threads.h).
const maxPID = 1 << 22

// inside tells whether path is below dir, and not dir itself: at a hierarchy's
// top are the host's own processes.
func inside(path, dir string) bool {
	return filepath.IsAbs(dir) && path == filepath.Clean(path) && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") && path != dir
}

func (r *record) field(d *jsonReader, key string) {
	switch key {
	case "ociVersion":
		r.OCIVersion = d.text()
	case "id":
		r.ID = d.text()
	case "pid":
		r.PID = int(d.number(31))
	case "startTime":
		r.StartTime = d.number(64)
	case "bundle":
		r.Bundle = d.text()
	case "rootfs":
		r.Rootfs = d.text()
	case "created":
		r.Created = d.time()
	case "boot":
		r.Boot = d.text()
	case "uid":
		r.UID = int(d.number(32))
	case "annotations":
		r.Annotations = map[string]string{}
		d.object(func(k string) { r.Annotations[k] = d.text() })
	case "cgroup":
		r.Cgroup = decodeGroup(d)
	case "resctrl":
		r.Resctrl = decodeResctrl(d)
	case "hostMount":
		r.HostMount = d.number(64)
	case "ownPids":
		r.OwnPIDs = d.flag()
	case "process":
		r.Process = d.flag()
	case "hooks":
		r.Hooks = d.texts()
	case "namespaces":
		r.Namespaces = d.texts()
	case "noKeyring":
		r.NoKeyring = d.flag()
	case "stdio":
		r.Stdio = d.texts()
	case "exec":
		r.Exec = decodeTail(d)
	default:
		d.bad = true
	}
}

func decodeGroup(d *jsonReader) (s cgroups.State) {
	d.object(func(key string) {
		switch key {
		case "dirs":
			d.array(func() { s.Dirs = append(s.Dirs, decodeDir(d)) })
		case "above":
			s.Above = d.texts()
		case "unit":
			s.Unit = d.text()
		case "userUnit":
			s.UserUnit = d.flag()
		default:
			d.bad = true
		}
	})
	return s
}

func decodeResctrl(d *jsonReader) (s intelrdt.State) {
	d.object(func(key string) {
		switch key {
		case "tasks":
			s.Tasks = d.texts()
		case "remove":
			s.Remove = d.texts()
		case "shared":
			s.Shared = d.text()
		default:
			d.bad = true
		}
	})
	return s
}

func decodeDir(d *jsonReader) (dir cgroups.Dir) {
	d.object(func(key string) {
		switch key {
		case "path":
			dir.Path = d.text()
		case "mountpoint":
			dir.Mountpoint = d.text()
		case "controllers":
			dir.Controllers = d.texts()
		case "v2":
			dir.V2 = d.flag()
		case "inherit":
			dir.Inherit = d.texts()
		case "enable":
			dir.Enable = d.texts()
		default:
			d.bad = true
		}
	})
	return dir
}

func decodeTail(d *jsonReader) *nsenter.Tail {
	t := &nsenter.Tail{}
	d.object(func(key string) {
		switch key {
		case "first":
			t.First = uint32(d.number(32))
		case "steps":
			d.array(func() { t.Steps = append(t.Steps, decodeStep(d)) })
		default:
			d.bad = true
		}
	})
	return t
}

func decodeStep(d *jsonReader) (s nsenter.TailStep) {
	d.object(func(key string) {
		switch key {
		case "call":
			s.Call = nsenter.Call(d.number(32))
		case "origin":
			s.Origin = decodeOrigin(d)
		default:
			d.bad = true
		}
	})
	return s
}

func decodeOrigin(d *jsonReader) (o nsenter.Origin) {
	d.object(func(key string) {
		switch key {
		case "Field":
			o.Field = fault.Pointer(d.text())
		case "Op":
			o.Op = d.text()
		case "Path":
			o.Path = d.text()
		case "Phase":
			o.Phase = fault.Phase(d.text())
		default:
			d.bad = true
		}
	})
	return o
}

// jsonWriter appends JSON (RFC 8259).
type jsonWriter struct {
	out   []byte
	comma bool // before what comes next
}

func (w *jsonWriter) open(c byte) {
	w.out, w.comma = append(w.out, c), false
}

func (w *jsonWriter) close(c byte) {
	w.out, w.comma = append(w.out, c), true
}

// item begins an array's next element.
func (w *jsonWriter) item() {
	if w.comma {
		w.out = append(w.out, ',')
	}
	w.comma = false
}

func (w *jsonWriter) key(k string) {
	w.item()
	w.string(k)
	w.out = append(w.out, ':')
}

func (w *jsonWriter) text(k, v string) {
	w.key(k)
	w.string(v)
	w.comma = true
}

func (w *jsonWriter) number(k string, n uint64) {
	w.key(k)
	w.out = strconv.AppendUint(w.out, n, 10)
	w.comma = true
}

// flag writes true, and nothing for false.
func (w *jsonWriter) flag(k string, v bool) {
	if v {
		w.key(k)
		w.out = append(w.out, "true"...)
		w.comma = true
	}
}

// texts writes a list, and nothing for an empty one.
func (w *jsonWriter) texts(k string, list []string) {
	if len(list) == 0 {
		return
	}
	w.key(k)
	w.open('[')
	for _, s := range list {
		w.item()
		w.string(s)
		w.comma = true
	}
	w.close(']')
}

func (w *jsonWriter) string(s string) {
	const hex = "0123456789abcdef"
	w.out = append(w.out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			w.out = append(w.out, '\\', c)
		case c < 0x20:
			w.out = append(w.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			w.out = append(w.out, c)
		}
	}
	w.out = append(w.out, '"')
}

// jsonReader reads JSON as jsonWriter writes it: without white space, without
// negative numbers and, in strings, without escapes. What else comes makes it
// bad, and all that it returns from then on is of no use.
type jsonReader struct {
	in  string
	at  int
	bad bool
}

func (d *jsonReader) take(c byte) bool {
	if d.bad || d.at >= len(d.in) || d.in[d.at] != c {
		return false
	}
	d.at++
	return true
}

func (d *jsonReader) must(c byte) { d.bad = !d.take(c) || d.bad }

// list reads what is between two brackets.
func (d *jsonReader) list(open, end byte, each func()) {
	d.must(open)
	if d.take(end) {
		return
	}
	for !d.bad {
		each()
		if d.take(end) {
			return
		}
		d.must(',')
	}
}

func (d *jsonReader) array(each func()) { d.list('[', ']', each) }

func (d *jsonReader) object(each func(key string)) {
	d.list('{', '}', func() {
		key := d.text()
		d.must(':')
		if !d.bad {
			each(key)
		}
	})
}

func (d *jsonReader) text() string {
	d.must('"')
	for i := d.at; !d.bad && i < len(d.in); i++ {
		switch c := d.in[i]; {
		case c == '"':
			s := d.in[d.at:i]
			d.at = i + 1
			return s
		case c == '\\' || c < 0x20:
			d.bad = true
		}
	}
	d.bad = true
	return ""
}

func (d *jsonReader) texts() (out []string) {
	d.array(func() { out = append(out, d.text()) })
	return out
}

// number reads one of so many bits.
func (d *jsonReader) number(bits int) uint64 {
	from := d.at
	for d.at < len(d.in) && d.in[d.at] >= '0' && d.in[d.at] <= '9' {
		d.at++
	}
	text := d.in[from:d.at]
	n, err := strconv.ParseUint(text, 10, bits)
	d.bad = d.bad || err != nil || len(text) > 1 && text[0] == '0'
	return n
}

func (d *jsonReader) flag() bool {
	for _, c := range []byte("true") {
		d.must(c)
	}
	return true
}

func (d *jsonReader) time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, d.text())
	d.bad = d.bad || err != nil
	return t
}
