package bundle

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// FuzzBundle holds reading and checking to this, for every input:
//   - nothing panics;
//   - every pointer leads to an entry, or to where one is missing;
//   - what encoding/json refuses is refused, and what it reads and we read is
//     the same, also after writing it again;
//   - complaints and notes are one line each, and no more than anybody reads.
func FuzzBundle(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, c := range checkCases(f) {
		f.Add(patched(f, c.patch))
	}
	for _, s := range []string{"", "{", "{}", "[]", "null", `{"mounts": [{"options": [1, {"a": [}]`, `{"a": "\ud800"}`, "{\"hostname\": \"\xff\"}", `{"hostname": null, "mounts": [null], "process": {"user": null}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(judge)
}

// TestMutations is FuzzBundle with mutations of its own, the same every time:
// bytes changed, cut out, and moved from one document to another.
func TestMutations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	cases := checkCases(t)
	seed := func() []byte { return patched(t, cases[r.IntN(len(cases))].patch) }
	for range 5000 {
		raw := mutate(r, seed(), seed())
		if judge(t, raw); t.Failed() {
			t.Fatalf("%q", raw)
		}
	}
}

func mutate(r *rand.Rand, raw, other []byte) []byte {
	for range 1 + r.IntN(4) {
		i := r.IntN(len(raw))
		switch r.IntN(5) {
		case 0:
			const bytes = "{}[]\",:0-1.e\\ntu \x00\xff"
			raw[i] = bytes[r.IntN(len(bytes))]
		case 1:
			raw = slices.Delete(raw, i, min(len(raw), i+1+r.IntN(3)))
		case 2:
			j := r.IntN(len(other))
			raw = slices.Insert(raw, i, other[j:min(len(other), j+r.IntN(12))]...)
		case 3:
			n := r.IntN(len(values))
			raw = values[n].ReplaceAllFunc(raw, func(b []byte) []byte {
				if r.IntN(10) != 0 {
					return b
				}
				return []byte(replacements[r.IntN(len(replacements))])
			})
		default:
			raw = slices.Insert(raw, i, []byte(replacements[r.IntN(len(replacements))])...)
		}
		if len(raw) == 0 {
			return raw
		}
	}
	return raw
}

// values match JSON values of one kind; replacements take their place.
var (
	values       = []*regexp.Regexp{regexp.MustCompile(`"[^"]*"`), regexp.MustCompile(`\b[0-9]+\b`), regexp.MustCompile(`\{[^{}]*\}`), regexp.MustCompile(`\[[^\[\]]*\]`)}
	replacements = []string{`null`, `5`, `-1`, `""`, `"\u0000"`, `{}`, `[]`, `[{}]`, `true`, `1e9`, `"\ud800"`, `"a":1,`, `4294967296`}
)

func judge(t *testing.T, raw []byte) {
	t.Helper()
	b, list := parse(raw)
	if len(list) == 0 {
		sameAsJSON(t, b)
	} else if !json.Valid(raw) && list[len(list)-1].Code != "json-syntax" && !hasSyntax(list) {
		t.Errorf("not JSON, but only %v", list)
	}
	list = append(append(list, b.Check()...), b.UnknownFields()...)
	where := b.places(list)
	for _, e := range list {
		if !where.has(parent(e.Field)) && e.Field != "" && !hasSyntax(list) {
			t.Errorf("%s leads nowhere: %v", e.Field, e)
		}
		if text := e.Error(); strings.ContainsAny(text, "\x00\n") || len(text) > 4*4096 {
			t.Errorf("not one line: %q", text)
		}
	}
	if len(list) > 3*maxComplaints+1 {
		t.Errorf("%d complaints", len(list))
	}
}

func hasSyntax(list fault.List) bool {
	for _, e := range list {
		if e.Code == "json-syntax" {
			return true
		}
	}
	return false
}

// sameAsJSON compares with encoding/json, which matches keys in any case and
// merges the values of repeated keys.
func sameAsJSON(t *testing.T, b *Bundle) {
	if strings.Contains(string(b.Raw), "windows") || strings.Contains(string(b.Raw), "solaris") ||
		strings.Contains(string(b.Raw), "freebsd") || strings.Contains(string(b.Raw), "vm") || strings.Contains(string(b.Raw), "zos") {
		return
	}
	if len(b.UnknownFields()) != 0 {
		if !json.Valid(b.Raw) {
			t.Error("is not JSON, but is read")
		}
		return
	}
	var want specs.Spec
	d := json.NewDecoder(bytes.NewReader(b.Raw))
	if err := d.Decode(&want); err != nil {
		t.Errorf("encoding/json: %v", err)
		return
	}
	if !reflect.DeepEqual(*b.Spec, want) {
		t.Errorf("\n got: %+v\nwant: %+v", *b.Spec, want)
	}
	raw, err := json.Marshal(b.Spec)
	if err != nil {
		t.Fatal(err)
	}
	again, list := parse(raw)
	if twice, _ := json.Marshal(again.Spec); len(list) != 0 || string(twice) != string(raw) {
		t.Errorf("%v\nwritten: %s\n   read: %s", list, raw, twice)
	}
}
