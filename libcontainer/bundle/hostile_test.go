package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// leaf is one value of a document that holds every field of the
// specification.
type leaf struct {
	at    fault.Pointer
	value any
	key   bool // at is a map's, and its last key the configuration's own
}

// leaves returns every string and number below v, and the entries of maps.
func leaves(v any, at fault.Pointer, list []leaf) []leaf {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sorted(v) {
			if k == "key" {
				list = append(list, leaf{at: at.At(k), key: true})
			}
			list = leaves(v[k], at.At(k), list)
		}
	case []any:
		list = leaves(v[0], at.Index(0), list)
	case string, float64:
		list = append(list, leaf{at: at, value: v})
	}
	return list
}

// everything is a document with every field that is read, and its leaves.
func everything(t *testing.T) (string, []leaf) {
	t.Helper()
	var spec specs.Spec
	n := 0
	fill(reflect.ValueOf(&spec).Elem(), &n)
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	list := leaves(doc, "", nil)
	if len(list) < 150 {
		t.Fatalf("only %d leaves", len(list))
	}
	return string(raw), list
}

// with is the document with raw JSON in the place of a leaf.
func (l leaf) with(t *testing.T, doc, raw string) string {
	t.Helper()
	b := &Bundle{Raw: []byte(doc)}
	at := l.at
	if l.key {
		at = parent(at)
	}
	off := b.places(fault.List{{Field: at}}).offset(at)
	d := newDecoder(doc)
	if d.pos = off; l.key {
		d.pos = off + strings.Index(doc[off:], `"key"`)
		off = d.pos
	}
	d.skip()
	return doc[:off] + raw + doc[d.pos:]
}

// complaintAt returns what is said about an entry.
func complaintAt(raw string, at fault.Pointer) *fault.Error {
	_, list := parse([]byte(raw))
	if i := slices.IndexFunc(list, func(e *fault.Error) bool { return e.Field == at }); i >= 0 {
		return list[i]
	}
	return nil
}

// TestHostileStrings puts what the kernel would cut short, and what is no text
// at all, into every string and every key that the specification has.
func TestHostileStrings(t *testing.T) {
	doc, list := everything(t)
	for _, l := range list {
		if _, ok := l.value.(string); !ok && !l.key {
			continue
		}
		for _, c := range []struct{ text, inside, want string }{
			{`"a\u0000b"`, "a\x00b", "NUL byte"},
			{`"\u0000"`, "\x00", "NUL byte"},
			{"\"a\xffb\"", "a\xffb", "not UTF-8"},
			{"\"\xc0\xaf\"", "\xc0\xaf", "not UTF-8"},
			{`"\ud800"`, "\ufffd", "half of a surrogate pair"},
		} {
			at, want := l.at, c.want
			if l.key {
				at = parent(at).At(c.inside)
			}
			// They are never the kernel's (config.md).
			if want == "NUL byte" && (strings.HasPrefix(string(at), "/annotations/") && !l.key || at == "/linux/seccomp/listenerMetadata") {
				want = ""
			}
			e := complaintAt(l.with(t, doc, c.text), at)
			switch {
			case want == "" && e != nil, want != "" && (e == nil || !strings.Contains(e.Msg, want)):
				t.Errorf("%s: %s: got %v", at, c.text, e)
			case e != nil && strings.ContainsAny(e.Error(), "\x00\n"):
				t.Errorf("%s: not one line: %q", at, e)
			}
		}
		for _, c := range []struct{ text, want string }{
			{`5`, "must be a string"}, {`{"a": [1]}`, "must be a string"}, {"\"a\nb\"", "control character"}, {`"a`, ""}, {`"\q"`, "escape"},
		} {
			_, bad := parse([]byte(l.with(t, doc, c.text)))
			if len(bad) == 0 || !strings.Contains(bad.Error(), c.want) && !l.key {
				t.Errorf("%s: %s: got %v", l.at, c.text, bad)
			}
		}
	}
}

// TestHostileProcess: what is hostile in a config.json's process is in the file
// of exec --process as well, which the same decoder reads.
func TestHostileProcess(t *testing.T) {
	doc, list := everything(t)
	path := filepath.Join(t.TempDir(), "process.json")
	load := func(raw string) error {
		t.Helper()
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadProcess(path)
		return err
	}
	process := func(raw string) string {
		var d struct{ Process json.RawMessage }
		if err := json.Unmarshal([]byte(raw), &d); err != nil {
			t.Fatal(err)
		}
		return string(d.Process)
	}
	if err := load(process(doc)); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, l := range list {
		if !strings.HasPrefix(string(l.at), "/process/") {
			continue
		}
		texts := []string{`"a\u0000b"`, `{}`}
		if _, number := l.value.(float64); number {
			texts = []string{"18446744073709551616", "-1e400", `"1"`}
		}
		for _, text := range texts {
			err := load(process(l.with(t, doc, text)))
			if err == nil || !strings.Contains(err.Error(), "(config.json "+string(l.at)+")") || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %s: got %v", l.at, text, err)
			}
			tried++
		}
	}
	if tried < 50 {
		t.Errorf("only %d values", tried)
	}
	good := process(doc)
	for raw, want := range map[string]string{
		"":                          "the document ends where a value should follow",
		"[]":                        "must be an object, not an array",
		"\ufeff" + good:             "line 1, column 1: found",
		good + good:                 "the document ends here, but more follows",
		good[:len(good)/2]:          "the document ends",
		strings.Repeat("[", 100000): "must be an object",
		`{"args": ` + strings.Repeat("[", 100000):                "must be a string",
		`{"x": ` + strings.Repeat("[", 100000):                   "nested too deeply",
		"{\"cwd\": \"\xff\"}":                                    "not UTF-8",
		`{"args": [` + strings.Repeat(`"",`, maxValues) + `""]}`: "holds more than 1048576 values",
	} {
		if err := load(raw); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 5000 {
			t.Errorf("%.40q: got %v", raw, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	const hint = "; --process names a JSON document"
	if _, err := LoadProcess(path); err == nil || !strings.Contains(err.Error(), "no such file or directory"+hint) {
		t.Errorf("got %v", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadProcess(path); err == nil || !strings.Contains(err.Error(), "not a regular file"+hint) {
		t.Errorf("got %v", err)
	}
}

// TestHostileNumbers puts what does not fit into every number that the
// specification has.
func TestHostileNumbers(t *testing.T) {
	doc, list := everything(t)
	for _, l := range list {
		if _, ok := l.value.(float64); !ok {
			continue
		}
		for _, text := range []string{
			"18446744073709551616", "-9223372036854775809", "1e400", "-1e-400", "1.5", strings.Repeat("9", 5000), "-" + strings.Repeat("9", 5000),
			`"5"`, "true", "[]",
		} {
			e := complaintAt(l.with(t, doc, text), l.at)
			if e == nil || len(e.Error()) > 1000 {
				t.Errorf("%s: %.40s: got %v", l.at, text, e)
			}
		}
		// What is below zero, or above 32 bits, is taken as it is or refused,
		// and never becomes another number.
		for _, n := range []int64{-1, -1 << 31, 1 << 31, 1 << 32, 1<<32 + 1, 1<<63 - 1, -1 << 63} {
			text := strconv.FormatInt(n, 10)
			raw := l.with(t, doc, text)
			b, bad := parse([]byte(raw))
			if len(bad) != 0 {
				if complaintAt(raw, l.at) == nil {
					t.Errorf("%s: %s: %v", l.at, text, bad)
				}
				continue
			}
			again, err := json.Marshal(b.Spec)
			if err != nil {
				t.Fatal(err)
			}
			var want specs.Spec
			if err := json.Unmarshal([]byte(raw), &want); err != nil {
				t.Fatal(err)
			}
			if theirs, _ := json.Marshal(want); string(theirs) != string(again) {
				t.Errorf("%s: %s became another number", l.at, text)
			}
		}
	}
}

// TestHostileDocuments: what is no configuration is one complaint, which says
// where it stands.
func TestHostileDocuments(t *testing.T) {
	const deep = 100000
	for name, c := range map[string]struct{ doc, want string }{
		"byte order mark":   {"\ufeff" + base, `line 1, column 1: found '\ufeff' where a value should be`},
		"UTF-16":            {"\xff\xfe{\x00}\x00", "line 1, column 1: found"},
		"trailing document": {base + base, "the document ends here, but more follows"},
		"trailing NUL":      {base + "\x00", "the document ends here, but more follows"},
		"nested arrays":     {`{"x": ` + strings.Repeat("[", deep), "the document is nested too deeply"},
		"nested objects":    {strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep), "the document is nested too deeply"},
		"nested in a field": {`{"mounts": ` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}", "the document is nested too deeply"},
		"a long key":        {`{"` + strings.Repeat("k", maxKey+1) + `": 1}`, "line 1, column 2: a key has more than 4096 bytes"},
		"values":            {`{"x": [` + strings.Repeat("0,", maxValues) + "0]}", "the document holds more than 1048576 values"},
		"members":           {`{"annotations": {` + strings.Repeat(`"":"",`, maxValues) + `"":""}}`, "the document holds more than 1048576 values"},
	} {
		_, list := parse([]byte(c.doc))
		if len(list) == 0 || !strings.Contains(list[len(list)-1].Error(), c.want) {
			t.Errorf("%s: got %.300v", name, list)
		}
		if text := list.Error(); len(text) > 10000 {
			t.Errorf("%s: %d bytes of complaints", name, len(text))
		}
	}
}

// TestManyMounts: more than a mount namespace holds.
func TestManyMounts(t *testing.T) {
	mounts := strings.Repeat(`{"destination": "/a", "type": "tmpfs"},`, maxMounts-1)
	b, list := parse([]byte(`{"mounts": [` + mounts + `{"destination": "/b", "type": "proc"}]}`))
	if len(list) != 0 {
		t.Fatal(list)
	}
	const want = "check: must have fewer than 100000 entries, not 100000 (config.json /mounts); mount a directory above several of them"
	if got := b.Check().Error(); !strings.Contains(got, want) {
		t.Errorf("got %.500s", got)
	}
}

// TestRepeatedKeys: the last one counts, as with encoding/json, and a note says
// so.
func TestRepeatedKeys(t *testing.T) {
	doc, list := everything(t)
	for _, l := range list {
		if l.key || strings.ContainsAny(string(l.at), "0123456789") {
			continue
		}
		at := parent(l.at)
		b := &Bundle{Raw: []byte(doc)}
		off := 1 + b.places(fault.List{{Field: at}}).offset(at)
		name := string(l.at[len(at)+1:])
		raw := doc[:off] + strconv.Quote(name) + ": null, " + doc[off:]
		got, bad := parse([]byte(raw))
		if len(bad) != 0 {
			t.Errorf("%s: %v", l.at, bad)
		}
		sameAsJSON(t, &Bundle{Raw: []byte(raw), Spec: got.Spec})
		notes := got.UnknownFields()
		if len(notes) != 1 || notes[0].Field != l.at || notes[0].Msg != "is given twice" {
			t.Errorf("%s: notes %v", l.at, notes)
		}
	}
}

// TestLongArguments: what execve(2) takes none of is not tried.
func TestLongArguments(t *testing.T) {
	most := 32*syscall.Getpagesize() - 1
	for _, field := range []string{"args", "env"} {
		for n, want := range map[int]string{most: "", most + 1: "/process/" + field + "/1"} {
			value := "A=" + strings.Repeat("x", n-2)
			raw := patched(t, `{"process": {"`+field+`": ["A=1", "`+value+`"]}}`)
			got := ""
			for _, line := range complaints(raw) {
				got, _, _ = strings.Cut(line, ":")
			}
			if got != want {
				t.Errorf("%s of %d bytes: %q", field, n, got)
			}
		}
	}
}
