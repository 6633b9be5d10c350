package libcontainer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// TestResources: the limits that hold are config.json's until update has
// written others, and only what the runtime has written is believed.
func TestResources(t *testing.T) {
	c := &Container{ID: "c", dir: filepath.Join(t.TempDir(), "c")}
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limit := func() int64 {
		t.Helper()
		r, err := c.resources()
		if err != nil {
			t.Fatal(err)
		}
		return *r.Pids.Limit
	}
	write(configFile, `{"ociVersion":"1.2.0"}`)
	if r, err := c.resources(); r != nil || err != nil {
		t.Errorf("of a config.json without any: %v, %v", r, err)
	}
	write(configFile, `{"ociVersion":"1.2.0","linux":{"resources":{"pids":{"limit":5}}}}`)
	if n := limit(); n != 5 {
		t.Errorf("of config.json: %d", n)
	}
	r, err := c.resources()
	if err != nil {
		t.Fatal(err)
	}
	*r.Pids.Limit = 6
	if err := c.saveResources(r); err != nil {
		t.Fatal(err)
	}
	if n := limit(); n != 6 {
		t.Errorf("after an update: %d", n)
	}

	for what, spoil := range map[string]func(path string) error{
		"not JSON": func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"a link":   func(path string) error { return os.Symlink("config.json", path) },
		"a FIFO":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"writable": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("{}"), 0o600), os.Chmod(path, 0o666))
		},
		"wrong":     func(path string) error { return os.WriteFile(path, []byte(`{"pids":[]}`), 0o600) },
		"a section": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := c.path(resourcesFile)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		_, err := c.resources()
		var e *fault.Error
		if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Path, resourcesFile) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestEventsShape: an event has the fields that managers parse, and no more
// than its type asks for.
func TestEventsShape(t *testing.T) {
	raw, err := json.Marshal(Event{Type: "oom", ID: "c"})
	if err != nil || string(raw) != `{"type":"oom","id":"c"}` {
		t.Errorf("%s, %v", raw, err)
	}
	raw, err = json.Marshal(Event{Type: "stats", ID: "c", Data: &Stats{}})
	if err != nil {
		t.Fatal(err)
	}
	var event struct{ Data map[string]any }
	if err := json.Unmarshal(raw, &event); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields("cpu cpuset memory pids blkio hugetlb intel_rdt network_interfaces") {
		if _, ok := event.Data[key]; !ok {
			t.Errorf("no %s in %s", key, raw)
		}
	}
	if len(event.Data) != 8 {
		t.Errorf("%s", raw)
	}
}
