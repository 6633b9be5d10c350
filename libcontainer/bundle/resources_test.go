package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoadResources: the document of update is linux.resources alone, and its
// mistakes are pointed to as config.json's are.
func TestLoadResources(t *testing.T) {
	for _, tt := range []struct{ doc, wrong, field string }{
		{`{}`, "", ""},
		{`{"memory":{"limit":5,"swap":-1},"cpu":{"cpus":"0"},"pids":{"limit":7},"unknown":1}`, "", ""},
		{`{"memory":{"limit":"5"}}`, "number", "/linux/resources/memory/limit"},
		{`{"memory":`, "line 1, column 11", "/linux/resources/memory"},
		{`{} {}`, "more follows", "/linux/resources"},
		{`[]`, "object", "/linux/resources"},
		{``, "line 1, column 1", "/linux/resources"},
	} {
		path := filepath.Join(t.TempDir(), "r.json")
		if err := os.WriteFile(path, []byte(tt.doc), 0o600); err != nil {
			t.Fatal(err)
		}
		r, doc, err := LoadResources(path)
		if doc != path {
			t.Errorf("%s: named %s", tt.doc, doc)
		}
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s: %v", tt.doc, err)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong) || !strings.Contains(err.Error(), tt.field) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v", tt.doc, err)
		}
		if strings.Contains(tt.doc, "swap") && (*r.Memory.Limit != 5 || *r.Memory.Swap != -1 || r.CPU.Cpus != "0" || *r.Pids.Limit != 7) {
			t.Errorf("%s: %+v", tt.doc, r)
		}
	}
	if _, _, err := LoadResources(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
