package libcontainer

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"berth/cgroups"
	"berth/libcontainer/intelrdt"
	"berth/nsenter"
)

// records are empty, full, and with what needs escapes.
func records() []record {
	full := record{
		OCIVersion: "1.3.0", ID: "c", PID: 5, StartTime: 1<<64 - 1, Bundle: "/b", Rootfs: "/b/r",
		Created: time.Date(2020, 1, 2, 3, 4, 5, 67, time.UTC), Boot: "a-b", UID: 1000,
		Annotations: map[string]string{"b": "2", "a": "1", "": ""},
		Cgroup: cgroups.State{
			Dirs: []cgroups.Dir{
				{Path: "/sys/fs/cgroup/c", Mountpoint: "/sys/fs/cgroup", Controllers: []string{"cpu", "io"}, V2: true, Enable: []string{"cpu"}},
				{Path: "/x", Inherit: []string{"cpuset.cpus"}},
			},
			Above: []string{"/sys/fs/cgroup/above"},
			Unit:  "p-c.scope", UserUnit: true,
		},
		Resctrl: intelrdt.State{
			Tasks: []string{"/sys/fs/resctrl/c", "/sys/fs/resctrl/c/mon_groups/id"}, Remove: []string{"/sys/fs/resctrl/c/mon_groups/id"},
			Shared: "/sys/fs/resctrl/c",
		},
		HostMount: 7, OwnPIDs: true, Process: true, Hooks: []string{"prestart"}, Namespaces: []string{"ipc", "mnt"}, NoKeyring: true, Stdio: []string{"", "pipe:[5]", "7:8"},
		Exec: &ExecSteps{First: 375, Steps: []nsenter.TailStep{
			{Call: nsenter.Find, Origin: nsenter.Origin{Field: "/process/args/0", Op: "exec", Path: "/bin/true", Phase: "exec"}}, {},
		}},
	}
	odd := full
	odd.Annotations = map[string]string{"quote \"": "back \\ slash", "line\nfeed": "\x00\x1f\u2028<é>", "long": strings.Repeat("x", 9000)}
	return []record{{}, full, odd}
}

func TestRecordEncoding(t *testing.T) {
	// A field that is new must be written and read, too.
	for _, v := range []any{record{}, cgroups.State{}, intelrdt.State{}, cgroups.Dir{}, nsenter.Tail{}, nsenter.TailStep{}, nsenter.Origin{}} {
		want := map[string]int{
			"libcontainer.record": 20, "cgroups.State": 4, "intelrdt.State": 3, "cgroups.Dir": 6,
			"nsenter.Tail": 2, "nsenter.TailStep": 2, "nsenter.Origin": 4,
		}
		if typ := reflect.TypeOf(v); typ.NumField() != want[typ.String()] {
			t.Errorf("%s has %d fields", typ, typ.NumField())
		}
	}
	for _, r := range records() {
		var mine, theirs record
		if err := json.Unmarshal(r.encode(), &mine); err != nil {
			t.Fatalf("%v: %s", err, r.encode())
		}
		raw, _ := json.Marshal(r)
		json.Unmarshal(raw, &theirs)
		if !reflect.DeepEqual(mine, theirs) {
			t.Errorf("written: %+v\nwant: %+v", mine, theirs)
		}
		for _, raw := range [][]byte{r.encode(), raw} {
			var got record
			if err := got.decode(raw); err != nil || !reflect.DeepEqual(got, theirs) {
				t.Errorf("read: %+v, %v\nwant: %+v", got, err, theirs)
			}
		}
	}
}

// TestRecordDamaged cuts a record everywhere: no part of one is one, and none
// is a reason to panic.
func TestRecordDamaged(t *testing.T) {
	raw := records()[1].encode()
	for n := range raw {
		var got record
		if got.decode(raw[:n]) == nil {
			t.Errorf("taken: %s", raw[:n])
		}
	}
}
