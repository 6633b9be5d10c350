package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/defaults"
)

// base is a small configuration that is right.
const base = `{
	"ociVersion": "1.3.0",
	"process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/"},
	"root": {"path": "rootfs"},
	"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
}`

// merge lays a patch over a document as RFC 7386 says: objects are merged,
// null removes, anything else replaces.
func merge(doc, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	d, ok := doc.(map[string]any)
	if !ok {
		d = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(d, k)
		} else {
			d[k] = merge(d[k], v)
		}
	}
	return d
}

func patched(t testing.TB, patch string) []byte {
	t.Helper()
	var doc, p any
	if err := json.Unmarshal([]byte(base), &doc); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(patch))
	d.UseNumber()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%s: %v", patch, err)
	}
	raw, err := json.Marshal(merge(doc, p))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// complaints loads and checks a document, and returns each complaint as
// "POINTER: MESSAGE; HINT".
func complaints(raw []byte) (lines []string) {
	b, list := parse(raw)
	if len(list) == 0 {
		list = b.Check()
	}
	for _, e := range list {
		line := string(e.Field) + ": " + e.Msg
		if e.Hint != "" {
			line += "; " + e.Hint
		}
		lines = append(lines, line)
	}
	return lines
}

// checkCase is one entry of testdata/check.txt.
type checkCase struct{ patch, want string }

// checkCases reads testdata/check.txt: a case is a line "--- PATCH", the
// patch being laid over base, followed by the complaints, one a line. Lines
// that begin with # and empty lines are for the reader.
func checkCases(t testing.TB) (cases []checkCase) {
	t.Helper()
	text, err := os.ReadFile("testdata/check.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		patch, isCase := strings.CutPrefix(line, "--- ")
		switch {
		case isCase:
			cases = append(cases, checkCase{patch: patch})
		case line != "" && line[0] != '#':
			cases[len(cases)-1].want += line + "\n"
		}
	}
	return cases
}

//spec:1,2,3,24,25,37,41,83
func TestCheck(t *testing.T) {
	cases := checkCases(t)
	if len(cases) < 400 {
		t.Fatalf("only %d cases were read", len(cases))
	}
	for _, c := range cases {
		got := ""
		for _, line := range complaints(patched(t, c.patch)) {
			got += line + "\n"
		}
		if got != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.patch, got, c.want)
		}
	}
}

func TestRealConfigs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if got := complaints(raw); len(got) != 0 {
			t.Errorf("%s: %s", f, strings.Join(got, "\n"))
		}
		b, _ := parse(raw)
		if notes := b.UnknownFields(); len(notes) != 0 {
			t.Errorf("%s: %v", f, notes)
		}
	}
}

func TestSemver(t *testing.T) {
	for _, s := range []string{"1.0.0", "1.0.2-dev", "1.2.3-rc.1+build.5", "1.0.0+a", "1.0.0--"} {
		if major, ok := semver(s); !ok || major != "1" {
			t.Errorf("%s is refused", s)
		}
	}
	for _, s := range []string{"", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0-ä"} {
		if _, ok := semver(s); ok {
			t.Errorf("%s is accepted", s)
		}
	}
}

//spec:74
func TestSysctlName(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":             "net|ipv4|ip_forward",
		"net/ipv4/ip_forward":             "net|ipv4|ip_forward",
		"net.ipv4.conf.eth0/1.forwarding": "net|ipv4|conf|eth0.1|forwarding",
		"net/ipv4/conf/eth0.1/forwarding": "net|ipv4|conf|eth0.1|forwarding",
		"net.//.kernel":                   "net|..|kernel",
		"kernel":                          "kernel",
	} {
		if got := strings.Join(sysctlName(key), "|"); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

// Everything that is missing is told, and nothing panics.
func TestCheckEmpty(t *testing.T) {
	var at []string
	for _, e := range Check(&specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}) {
		at = append(at, string(e.Field))
	}
	want := []string{"/ociVersion", "/process/args", "/process/cwd", "/root"}
	if !slices.Equal(at, want) {
		t.Errorf("%v, want %v", at, want)
	}
}

// Check looks for NUL bytes too, because not every Spec comes from Load.
func TestCheckNUL(t *testing.T) {
	spec := defaults.Spec(false, 0, 0)
	spec.Process.Args = append(spec.Process.Args, "a\x00b")
	spec.Linux.Namespaces[0].Path = "/proc/1/ns/pid\x00"
	spec.Linux.Sysctl = map[string]string{"net.a\x00b": "1", "net.c": "\x00"}
	var at []string
	for _, e := range Check(spec) {
		at = append(at, string(e.Field))
	}
	want := []string{"/process/args/1", "/linux/sysctl/net.a\x00b", "/linux/sysctl/net.c", "/linux/namespaces/0/path"}
	if !slices.Equal(at, want) {
		t.Errorf("%q, want %q", at, want)
	}
}

// No number of mistakes makes the list grow without end.
func TestCheckBounded(t *testing.T) {
	spec := defaults.Spec(false, 0, 0)
	spec.Process.Env = make([]string, 10*maxComplaints)
	if n := len(Check(spec)); n != maxComplaints {
		t.Errorf("%d complaints", n)
	}
}
