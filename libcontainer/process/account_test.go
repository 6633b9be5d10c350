package process

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func imageWithAccounts(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\r\nweb:x:33:34:web:/srv:/bin/sh\nshort:x:7\nbig:x:4294967296:1::/:\nnegative:x:-1:1::/:\n2:x:0:0::/:\n",
		"group":  "root:x:0:\nweb:x:34:\nlog:x:4:web,root\nmail:x:8:other,web\ntwice:x:8:web\nbad:x:-1:web\nsub:x:9:webmaster\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLookupUser(t *testing.T) {
	base := specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}}
	root := imageWithAccounts(t)
	for text, want := range map[string]specs.User{
		"0":          {UID: 0, GID: 2, AdditionalGids: []uint32{3}},
		"4294967294": {UID: 4294967294, GID: 2, AdditionalGids: []uint32{3}},
		"10:20":      {UID: 10, GID: 20, AdditionalGids: []uint32{3}},
		"10:log":     {UID: 10, GID: 4, AdditionalGids: []uint32{3}},
		"2":          {UID: 2, GID: 2, AdditionalGids: []uint32{3}}, // never the user who calls himself that
		"web":        {UID: 33, GID: 34, Username: "web", AdditionalGids: []uint32{4, 8}},
		"web:0":      {UID: 33, GID: 0, Username: "web", AdditionalGids: []uint32{4, 8}},
		"web:mail":   {UID: 33, GID: 8, Username: "web", AdditionalGids: []uint32{4, 8}},
		"root":       {UID: 0, GID: 0, Username: "root", AdditionalGids: []uint32{4}},
	} {
		got, err := LookupUser(root, text, base)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// What is neither a number nor a name is refused, never taken for uid 0.
//
// cve:CVE-2026-30892
func TestLookupUserRefuses(t *testing.T) {
	root := imageWithAccounts(t)
	for _, text := range []string{
		"", ":", "1:", ":1", " 1", "1 ", "-1", "+1", "0x", "0x10", "0b1", "00", "01", "1_0", "1e3", "4294967295", "4294967296",
		"18446744073709551616", "1:-1", "1:4294967295", "1:2:3", "1: 2", "1\n", "1\x00", "web ", "nobody", "web:nogroup", "short", "big",
		"negative", "web:bad", "$", "-web", "we/b", "../web", "wéb", "root\x00", strings.Repeat("9", 1000), "1,2",
	} {
		if got, err := LookupUser(root, text, specs.User{UID: 5}); err == nil || got.UID != 5 && got.UID == 0 {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if _, err := LookupUser("/nonexistent", "web", specs.User{}); err == nil {
		t.Error("a user of an image without /etc/passwd")
	}
}

// FuzzUser holds LookupUser to a plain reading: digits are the number itself
// and nothing else is, and root comes from nothing but 0 or a name.
func FuzzUser(f *testing.F) {
	for _, s := range []string{"0", "web", "1:2", "", "-1", "0x", "4294967295", " 1", "root:log"} {
		f.Add(s)
	}
	root := imageWithAccounts(f)
	f.Fuzz(func(t *testing.T, text string) {
		base := specs.User{UID: 77, GID: 78}
		got, err := LookupUser(root, text, base)
		if err != nil {
			if !reflect.DeepEqual(got, base) {
				t.Errorf("%q: an error and %+v", text, got)
			}
			return
		}
		user, _, _ := strings.Cut(text, ":")
		if got.UID == 0 && user != "0" && user != "root" {
			t.Errorf("%q became root", text)
		}
	})
}
