package cgroups

import (
	"errors"
	"os"
	"strings"
	"testing"

	"berth/libcontainer/fault"
)

// TestRoom: a tight limit that leaves too little is refused by its entry, with
// the lowest that works; one that leaves enough, or is not tight, is not looked
// into. memory.high is what it was.
//
//spec:50
func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		limit, used string
		room        uint64
		want        string // of the error; "" is none
	}{
		{"200000", "80000", 120000, ""},
		{"199999", "80000", 120000, "a limit of 199999 is too low for one more process in the container (config.json /linux/resources/memory/limit); the lowest that works is 266240"},
		{"7", "80000", 120000, "the lowest that works is 266240"},
		{"8388608", "8388608", 120000, ""},
		{"max", "80000", 120000, ""},
		{"199999", "unknown", 120000, ""},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"memory.max": tt.limit + "\n", "memory.current": tt.used + "\n", "memory.high": "max\n"} {
			if err := os.WriteFile(dir+"/"+file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := Open(State{Dirs: []Dir{{Path: dir, Controllers: []string{"memory"}, V2: true}}}).Room(tt.room)
		var e *fault.Error
		switch {
		case tt.want == "" && err == nil:
		case tt.want == "" || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want):
			t.Errorf("%+v: %v", tt, err)
		case e.Phase != fault.PhaseCgroup:
			t.Errorf("%+v: phase %v", tt, e.Phase)
		}
		if high, err := readFile(dir, "memory.high"); err != nil || !strings.HasPrefix(high, "max") {
			t.Errorf("%+v: memory.high %q %v", tt, high, err)
		}
	}
	if err := Open(State{}).Room(1); err != nil {
		t.Error(err)
	}
}
