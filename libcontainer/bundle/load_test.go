package bundle

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

func writeConfig(t testing.TB, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := writeConfig(t, base)
	t.Chdir(filepath.Dir(dir))
	b, err := Load(filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	if b.Dir != dir || string(b.Raw) != base || b.Spec.Process.Args[0] != "sh" {
		t.Errorf("%+v", b)
	}
	if list := b.Check(); list != nil {
		t.Error(list)
	}
}

func TestLoadFileErrors(t *testing.T) {
	empty := t.TempDir()
	fifo, directory, large, file := t.TempDir(), t.TempDir(), t.TempDir(), writeConfig(t, base)
	for _, err := range []error{
		syscall.Mkfifo(filepath.Join(fifo, ConfigName), 0o600),
		os.Mkdir(filepath.Join(directory, ConfigName), 0o700),
		os.WriteFile(filepath.Join(large, ConfigName), nil, 0o600),
		os.Truncate(filepath.Join(large, ConfigName), MaxConfigSize+1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ dir, want string }{
		{empty, "open " + empty + "/config.json: no such file or directory; a bundle is a directory that holds config.json and the container's root file system: name it with --bundle, or make a config.json with `berth spec`"},
		{fifo, "read " + fifo + "/config.json: not a regular file; config.json must be a JSON document of at most 64 MiB"},
		{directory, "read " + directory + "/config.json: not a regular file; config.json must be a JSON document of at most 64 MiB"},
		{large, "read " + large + "/config.json: larger than 64 MiB; config.json must be a JSON document of at most 64 MiB"},
		{file + "/config.json", "open " + file + "/config.json/config.json: not a directory; --bundle names the bundle's directory, not the file in it"},
	} {
		b, err := Load(c.dir)
		if err == nil || err.Error() != c.want || b != nil {
			t.Errorf("\n got: %v\nwant: %s", err, c.want)
		}
		var e *fault.Error
		if !errors.As(err, &e) || e.Phase != fault.PhaseConfig {
			t.Errorf("%#v has no phase", err)
		}
	}
	if _, err := Load(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"", ": line 1, column 1: the document ends where a value should follow"},
		{" \n ", ": line 2, column 2: the document ends where a value should follow"},
		{"x", ": line 1, column 1: found 'x' where a value should be"},
		{"\ufeff{}", ": line 1, column 1: found '\\ufeff' where a value should be"},
		{"[]", ": line 1, column 1: must be an object, not an array"},
		{"{} {}", ": line 1, column 4: the document ends here, but more follows"},
		{"{}}", ": line 1, column 3: the document ends here, but more follows"},
		{"{", ": line 1, column 2: the document ends where a key in double quotes should follow"},
		{"{1", ": line 1, column 2: found '1' where a key in double quotes should be"},
		{`{"root"`, ": line 1, column 8: the document ends where ':' should follow"},
		{`{"root" 5`, ": line 1, column 9: found '5' where ':' should be"},
		{`{"root":`, "/root: line 1, column 9: the document ends where a value should follow"},
		{`{"root": }`, "/root: line 1, column 10: found '}' where a value should be"},
		{"{\"root\": {\n  \"path\": \"a\"\n  \"readonly\": true}}", "/root/path: line 3, column 3: found '\"' where ',' or '}' should be"},
		{`{"root": {"path": "a",}}`, "/root/path: line 1, column 22: a comma follows the last entry; remove the comma"},
		{`{"process": {"args": ["sh", ]}}`, "/process/args/0: line 1, column 27: a comma follows the last entry; remove the comma"},
		{`{"process": {"args": ["sh" "a"]}}`, "/process/args/0: line 1, column 28: found '\"' where ',' or ']' should be"},
		{`{"process": {"args": ["sh", "a`, "/process/args/1: line 1, column 31: the document ends where the rest of a string should follow"},
		{`{"process": {"cwd": "/a\`, "/process/cwd: line 1, column 24: a string holds an escape that JSON does not have; write a backslash as \\\\"},
		{`{"process": {"cwd": "\x41"}}`, "/process/cwd: line 1, column 22: a string holds an escape that JSON does not have; write a backslash as \\\\"},
		{`{"process": {"cwd": "\u12"}}`, "/process/cwd: line 1, column 22: \\u wants four hexadecimal digits"},
		{"{\"process\": {\"cwd\": \"a\tb\"}}", "/process/cwd: line 1, column 23: a string holds the control character '\\t'; write it as an escape, such as \\n"},
		{"{\"process\": {\"cwd\": \"\\n\t\"}}", "/process/cwd: line 1, column 24: a string holds the control character '\\t'; write it as an escape, such as \\n"},
		{`{"process": {"terminal": tru}}`, "/process/terminal: line 1, column 26: found 't' where a value should be"},
		{`{"process": {"terminal": nul}}`, "/process/terminal: line 1, column 26: found 'n' where a value should be"},
		{`{"process": {"user": {"uid": 01}}}`, "/process/user/uid: line 1, column 31: found '1' where ',' or '}' should be"},
		{`{"process": {"user": {"uid": -}}}`, "/process/user/uid: line 1, column 31: found '}' where a digit should be"},
		{`{"process": {"user": {"uid": 1.}}}`, "/process/user/uid: line 1, column 32: found '}' where a digit should be"},
		{`{"process": {"user": {"uid": 1e}}}`, "/process/user/uid: line 1, column 32: found '}' where a digit should be"},
		{`{"x": 'a'}`, "/x: line 1, column 7: found '\\'' where a value should be"},
		{`{"ä": "ö", }`, "/ä: line 1, column 10: a comma follows the last entry; remove the comma"},
		{`{"root": 5, "hostname": "a"`, "/root: line 1, column 10: must be an object, not a number\n" +
			"/hostname: line 1, column 28: the document ends where ',' or '}' should follow"},
	} {
		if got := strings.Join(complaints([]byte(c.doc)), "\n"); !strings.HasPrefix(got, c.want) || c.doc != "[]" && got != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.doc, got, c.want)
		}
	}
}

func TestNestingBounded(t *testing.T) {
	got := complaints([]byte(`{"x": ` + strings.Repeat("[", 1<<20)))
	if len(got) != 1 || !strings.HasSuffix(got[0], "the document is nested too deeply") {
		t.Errorf("%d complaints", len(got))
	}
}

func TestStrings(t *testing.T) {
	for text, want := range map[string]string{
		`"a"`:                "a",
		`"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t",
		`"\u00e9x\u20AC"`:    "éx€",
		`"\ud83d\ude00"`:     "😀",
		`"é€😀"`:              "é€😀",
	} {
		b, list := parse([]byte(`{"hostname": ` + text + `}`))
		if len(list) != 0 || b.Spec.Hostname != want {
			t.Errorf("%s: %q %v", text, b.Spec.Hostname, list)
		}
	}
	for text, want := range map[string]string{
		`"\ud83d"`:       "holds half of a surrogate pair",
		`"\ud83dx"`:      "holds half of a surrogate pair",
		`"\ude00\ud83d"`: "holds half of a surrogate pair",
		"\"a\xffb\"":     "holds bytes that are not UTF-8",
		`"a\u0000b"`:     "holds a NUL byte",
	} {
		_, list := parse([]byte(`{"hostname": ` + text + `}`))
		if len(list) == 0 || list[0].Msg != "line 1, column 14: "+want || list[0].Field != "/hostname" {
			t.Errorf("%s: %v", text, list)
		}
	}
}

// A mistake is shown as the user wrote it down: one line, with the file.
func TestLoadErrorText(t *testing.T) {
	dir := writeConfig(t, "{\n\t\"ociVersion\": \"1.0.2\",\n\t\"root\": {\"path\": 5},\n\t\"process\": {\"args\": [\"sh\"], \"cwd\": \"tmp\"}\n}\n")
	_, err := Load(dir)
	want := "parse " + dir + "/config.json: line 3, column 19: must be a string, not a number (config.json /root/path)\n" +
		"check: must be an absolute path, not \"tmp\" (config.json /process/cwd); begin it with /"
	if err == nil || err.Error() != want {
		t.Errorf("\n got: %v\nwant: %s", err, want)
	}
}

// Complaints come in the order of the document, not of the rules.
func TestDocumentOrder(t *testing.T) {
	got := complaints([]byte(`{"linux": {"rootfsPropagation": "x", "namespaces": [{"type": "x"}]},
		"process": {"cwd": "x", "args": []}, "root": {}, "ociVersion": "x"}`))
	var at []string
	for _, line := range got {
		p, _, _ := strings.Cut(line, ":")
		at = append(at, p)
	}
	want := "/linux/rootfsPropagation /linux/namespaces/0/type /process/cwd /process/args /root/path /ociVersion"
	if strings.Join(at, " ") != want {
		t.Errorf("%v\nwant %s", at, want)
	}
}

func TestUnknownFields(t *testing.T) {
	b, list := parse([]byte(`{
		"ociVersion": "1.3.0", "Hostname": "a", "x": {"y": [{"z": 1}]}, "hostname": "a", "hostname": "b",
		"mounts": [{"destination": "/a"}, {"destination": "/b", "optoins": ["ro"]}],
		"annotations": {"any.key": "", "any.key": ""},
		"linux": {"resources": {"memory": {"limt": 5}}, "a/b": null},
		"windows": {"x": 5}
	}`))
	if len(list) != 0 {
		t.Fatal(list)
	}
	const unknown = "is not a field of the runtime specification and is ignored"
	want := []string{
		"/Hostname " + unknown, "/x " + unknown, "/hostname is given twice", "/mounts/1/optoins " + unknown,
		"/annotations/any.key is given twice", "/linux/resources/memory/limt " + unknown, "/linux/a~1b " + unknown,
	}
	var got []string
	for _, n := range b.UnknownFields() {
		got = append(got, string(n.Field)+" "+n.Msg)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got: %q\nwant: %q", got, want)
	}
	if b.Spec.Hostname != "b" {
		t.Error("the last hostname does not count")
	}
}

// foreign are the sections that are not read.
func foreign(name string) bool {
	switch name {
	case "Solaris", "Windows", "VM", "ZOS", "FreeBSD":
		return true
	}
	return false
}

// fill sets every field below v to something that is not its zero value.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if !foreign(v.Type().Field(i).Name) {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), e)
	case reflect.String:
		v.SetString("text " + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-int64(*n))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic("fill: " + v.Kind().String())
	}
}

// Every field that specs.Spec has is read, and nothing else is known.
func TestFieldsComplete(t *testing.T) {
	var want specs.Spec
	n := 0
	fill(reflect.ValueOf(&want).Elem(), &n)
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(string(raw))
	var got specs.Spec
	d.document(func() { readSpec(d, &got) })
	if len(d.bad) != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got: %+v\nwant: %+v", d.bad, got, want)
	}
	if notes := (&Bundle{Raw: raw}).UnknownFields(); len(notes) != 0 {
		t.Error(notes)
	}
}

func TestIntegerLimits(t *testing.T) {
	for _, c := range []struct {
		text string
		read func(*decoder)
		ok   bool
	}{
		{"65535", func(d *decoder) { readInt(d, new(uint16)) }, true},
		{"65536", func(d *decoder) { readInt(d, new(uint16)) }, false},
		{"-1", func(d *decoder) { readInt(d, new(uint16)) }, false},
		{"2147483647", func(d *decoder) { readInt(d, new(int32)) }, true},
		{"2147483648", func(d *decoder) { readInt(d, new(int32)) }, false},
		{"-2147483648", func(d *decoder) { readInt(d, new(int32)) }, true},
		{"-2147483649", func(d *decoder) { readInt(d, new(int32)) }, false},
		{"-9223372036854775808", func(d *decoder) { readInt(d, new(int64)) }, true},
		{"9223372036854775808", func(d *decoder) { readInt(d, new(int64)) }, false},
		{"18446744073709551615", func(d *decoder) { readInt(d, new(uint64)) }, true},
		{"18446744073709551616", func(d *decoder) { readInt(d, new(uint64)) }, false},
		{"1e3", func(d *decoder) { readInt(d, new(uint64)) }, false},
	} {
		d := newDecoder(c.text)
		if d.document(func() { c.read(d) }); (len(d.bad) == 0) != c.ok {
			t.Errorf("%s: %v", c.text, d.bad)
		}
	}
}

func TestHints(t *testing.T) {
	for _, c := range []struct {
		op    string
		errno syscall.Errno
		want  string
	}{
		{"open", syscall.ENOENT, "a bundle is a directory"},
		{"open", syscall.ENOTDIR, "--bundle names the bundle's directory"},
		{"open", syscall.ELOOP, "config.json is a symbolic link"},
		{"read", 0, "config.json must be a JSON document"},
		{"read", syscall.EIO, ""},
	} {
		if got := hint(c.op, c.errno); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s %v: %q", c.op, c.errno, got)
		}
	}
}

// The cost of a config.json as managers write it, from the file to the last
// rule.
func BenchmarkLoad(b *testing.B) {
	raw, err := os.ReadFile("testdata/containerd-cri.json")
	if err != nil {
		b.Fatal(err)
	}
	dir := writeConfig(b, string(raw))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := Load(dir)
		if err != nil || c.Check() != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse is BenchmarkLoad without the file and the rules.
func BenchmarkParse(b *testing.B) {
	raw, err := os.ReadFile("testdata/containerd-cri.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, list := parse(raw); len(list) != 0 {
			b.Fatal(list)
		}
	}
}
