package userns

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func ids(triples ...uint32) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for i := 0; i < len(triples); i += 3 {
		out = append(out, specs.LinuxIDMapping{ContainerID: triples[i], HostID: triples[i+1], Size: triples[i+2]})
	}
	return out
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []specs.LinuxIDMapping
	}{
		{"none", "", ids(0, 1000, 1)},
		{"by name", "me:100000:65536\nother:5:6\n", ids(0, 1000, 1, 1, 100000, 65536)},
		{"by number", "1000:100000:65536\n", ids(0, 1000, 1, 1, 100000, 65536)},
		{"several, in their order", "me:300000:10\nme:200000:20\n", ids(0, 1000, 1, 1, 300000, 10, 11, 200000, 20)},
		{"one with his own id", "me:900:200\nme:300000:10\n", ids(0, 1000, 1, 1, 300000, 10)},
		{"ranges that overlap", "me:300000:10\nme:300009:10\n", ids(0, 1000, 1, 1, 300000, 10)},
		{"an empty one", "me:300000:0\n", ids(0, 1000, 1)},
		{"beyond what ids are", "me:4294967290:10\nme:300000:10\n", ids(0, 1000, 1, 1, 300000, 10)},
		{"comments and empty lines", "# me:1:2\n\nme:300000:10\n", ids(0, 1000, 1, 1, 300000, 10)},
	} {
		ranges, err := granted(strings.NewReader(c.file), "me", 1000)
		if got := plan(1000, ranges); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v (%v), want %v", c.name, got, err, c.want)
		}
	}
}

// The kernel takes so many ranges and no more.
func TestPlanMany(t *testing.T) {
	var ranges []user.SubID
	for i := range int64(400) {
		ranges = append(ranges, user.SubID{Name: "me", SubID: 100000 + 10*i, Count: 5})
	}
	if got := plan(1000, ranges); len(got) != 340 || got[339].ContainerID != 1+5*338 {
		t.Errorf("got %d ranges, the last %v", len(got), got[len(got)-1])
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		uids, gids []string
		want       Mapping
		err        string
	}{
		{[]string{"0:100000:65536"}, nil, Mapping{ids(0, 100000, 65536), ids(0, 100000, 65536)}, ""},
		{[]string{"0:1:1", "1:300:5"}, []string{"0:2:3"}, Mapping{ids(0, 1, 1, 1, 300, 5), ids(0, 2, 3)}, ""},
		{[]string{"0:1"}, nil, Mapping{}, "0:1: it is not three numbers"},
		{[]string{"0:1:0"}, nil, Mapping{}, "0:1:0: it is not three numbers"},
		{[]string{"0:-1:5"}, nil, Mapping{}, "0:-1:5: it is not three numbers"},
		{[]string{"0:1:4294967296"}, nil, Mapping{}, "it is not three numbers"},
		{[]string{"0:1:1"}, []string{"x:1:1"}, Mapping{}, "x:1:1: it is not three numbers"},
	} {
		got, err := Parse(c.uids, c.gids)
		switch {
		case c.err == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%v %v: got %v (%v), want %v", c.uids, c.gids, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%v %v: got %v, want %s", c.uids, c.gids, err, c.err)
		}
	}
}

func TestRemapped(t *testing.T) {
	got, err := Remapped("100000:200000:65536")
	if want := (Mapping{ids(0, 100000, 65536), ids(0, 200000, 65536)}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
	if _, err := Remapped("nobody:has:these"); err == nil || !strings.Contains(err.Error(), `grants "nobody:has:these" none`) {
		t.Errorf("got %v", err)
	}
}

func TestMapping(t *testing.T) {
	for _, c := range []struct {
		m        Mapping
		single   bool
		uid, gid uint32
		root     bool
	}{
		{Mapping{}, true, 0, 0, false},
		{Mapping{ids(0, 1000, 1), ids(0, 1001, 1)}, true, 1000, 1001, true},
		{Mapping{ids(0, 1000, 1, 1, 5, 9), ids(0, 1001, 1)}, true, 1000, 1001, true},
		{Mapping{ids(1, 5, 9, 0, 1000, 1), ids(0, 1001, 10)}, false, 1000, 1001, true},
		{Mapping{ids(1, 5, 9), ids(0, 1001, 10)}, false, 0, 1001, false},
	} {
		uid, gid, ok := c.m.Root()
		if c.m.Single() != c.single || ok != c.root || uid != c.uid || gid != c.gid {
			t.Errorf("%v: single %v, root %d:%d %v", c.m, c.m.Single(), uid, gid, ok)
		}
	}
}

// What Open makes is a user namespace; tests/layers has files mapped by it.
func TestOpen(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	ns, err := Open(Mapping{ids(0, 100000, 10), ids(0, 200000, 20)})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(ns.Fd())))
	if err != nil || !strings.HasPrefix(link, "user:[") {
		t.Errorf("%q is no user namespace (%v)", link, err)
	}
	if _, err := Open(Mapping{ids(0, 1, 5, 3, 9, 5), ids(0, 1, 5)}); err == nil || !strings.Contains(err.Error(), "must not overlap") {
		t.Errorf("ranges that overlap: %v", err)
	}
}
