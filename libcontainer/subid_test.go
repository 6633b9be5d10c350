package libcontainer

import (
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

func TestParseGrants(t *testing.T) {
	text := "alice:100000:65536\nbob:1:2\n1000:300000:10\nalice:5\nalice:x:1\nalice:7:-1\n\nalice:200000:1\n"
	want := []idRange{{100000, 165536}, {300000, 300010}, {200000, 200001}}
	if got := parseGrants(text, "alice", 1000); !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
	if got := parseGrants(text, "#7", 7); got != nil {
		t.Error(got)
	}
}

func TestParseMap(t *testing.T) {
	got := parseMap("         0       1000          1\n         1     100000      65536\nrubbish\n")
	if want := []idRange{{0, 1}, {1, 65537}}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

func TestMissing(t *testing.T) {
	granted := []idRange{{1000, 1001}, {100, 200}, {200, 300}}
	for _, tt := range []struct {
		mappings []specs.LinuxIDMapping
		want     int
	}{
		{nil, -1},
		{[]specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {HostID: 100, Size: 100}}, -1},
		{[]specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {HostID: 100, Size: 101}}, 1}, // not across two ranges
		{[]specs.LinuxIDMapping{{HostID: 1000, Size: 2}}, 0},
		{[]specs.LinuxIDMapping{{HostID: 99, Size: 2}, {HostID: 4294967295, Size: 4294967295}}, 0},
		{[]specs.LinuxIDMapping{{HostID: 150, Size: 1}, {HostID: 4294967295, Size: 4294967295}}, 1},
	} {
		if got := missing(tt.mappings, granted); got != tt.want {
			t.Errorf("%v: %d, not %d", tt.mappings, got, tt.want)
		}
	}
}

// The error of a helper names the mapping and the line that would grant it.
//
//spec:40
func TestHelperFailures(t *testing.T) {
	own := specs.LinuxIDMapping{HostID: uint32(os.Geteuid()), Size: 1}
	far := specs.LinuxIDMapping{ContainerID: 1, HostID: 4000000000, Size: 7}
	for name, tt := range map[string]struct {
		err      error
		mappings []specs.LinuxIDMapping
		field    fault.Pointer
		hint     string
	}{
		"not granted": {errors.New("exit status 1"), []specs.LinuxIDMapping{own, far}, "/linux/uidMappings/1", ":4000000000:7, or another hostID"},
		"no helper":   {exec.ErrNotFound, []specs.LinuxIDMapping{own, far}, "/linux/uidMappings/1", "package uidmap"},
		"no rights":   {errors.New("exit status 1"), []specs.LinuxIDMapping{own}, "/linux/uidMappings", "set-user-ID"},
	} {
		e := &fault.Error{Op: "newuidmap", Field: uids.field(), Err: tt.err}
		uids.blameGrants(e, tt.mappings)
		if e.Field != tt.field || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// The runtime cannot hand down what its own user namespace has not.
func TestMapsOutsideTheNamespace(t *testing.T) {
	e := &fault.Error{Op: "write", Path: "uid_map", Field: gids.field(), Errno: unix.EPERM}
	gids.blameNamespace(e, []specs.LinuxIDMapping{{HostID: 0, Size: 1}, {HostID: 4294967295, Size: 5}})
	if e.Field != "/linux/gidMappings/1" || !strings.Contains(e.Hint, "ids 4294967295 to 4294967299 are not in the user namespace") {
		t.Error(e)
	}
}

func TestMakeRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root to make what is another user's")
	}
	for name, tt := range map[string]struct {
		mode   uint32
		uid    int
		sticky bool
		want   string // in the error
		after  uint32
	}{
		"closed":           {0o700, 0, false, "", 0o700},
		"readable":         {0o755, 0, false, "", 0o755},
		"in XDG's":         {0o755, 0, true, "", 0o1700},
		"others may write": {0o775, 0, false, "others may write to it", 0o775},
		"but not to ours":  {0o1777, 0, false, "", 0o1777},
		"another user's":   {0o700, 4711, false, "belongs to user 4711, not to 0", 0o700},
	} {
		dir := t.TempDir() + "/root"
		if err := errors.Join(os.Mkdir(dir, 0o700), unix.Chmod(dir, tt.mode), os.Chown(dir, tt.uid, -1)); err != nil {
			t.Fatal(err)
		}
		err := makeRoot(dir, tt.sticky)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		var st unix.Stat_t
		if unix.Stat(dir, &st); st.Mode&0o7777 != tt.after {
			t.Errorf("%s: mode %o", name, st.Mode)
		}
	}
	if err := makeRoot(t.TempDir()+"/a/b", true); err != nil {
		t.Error(err)
	}
}
