package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/fault"
)

// TestParseSize: sizes as Docker's units take them, all powers of 1024.
func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "32": 32, "32b": 32, "32B": 32, "32k": 32 << 10, "32K": 32 << 10, "32kb": 32 << 10, "32Kb": 32 << 10, "32KiB": 32 << 10,
		"32m": 32 << 20, "32 MiB": 32 << 20, "1.5g": 3 << 29, "0.5 G": 1 << 29, "2t": 2 << 40, "1p": 1 << 50, "-1": -1, ".5k": 512, "1.": 1,
		"9223372036854774784": 9223372036854774784,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "m", "-2", "-1k", "5q", "32i", "32mm", "32bm", "32 m m", "1e3", "0x10", "inf", "nan", "5  m", "1 2", "9223372036854775808", "9000p", "+5", "1_0",
		strings.Repeat("9", 400), "k5",
	} {
		if got, err := parseSize(text); err == nil || err.Error() != "invalid size: '"+text+"'" {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	if _, err := parseSize(strconv.Itoa(math.MaxInt64)); err == nil {
		t.Error("more than a file can take is no size")
	}
}

// changed is what the command line asks for.
func changed(t *testing.T, args ...string) (change libcontainer.Change, named func(*fault.Error) *fault.Error, err error) {
	t.Helper()
	r := &runner{log: &log{}}
	c := r.updateCommand()
	c.Action = func(c *cli.Context) error {
		change, named, err = r.changeOf(c)
		return nil
	}
	app := &cli.App{Commands: []*cli.Command{c}}
	if err := app.Run(append([]string{"berth", "update"}, args...)); err != nil {
		t.Fatal(err)
	}
	return change, named, err
}

// TestEveryFlag sets what its entry of config.json would.
func TestEveryFlag(t *testing.T) {
	for _, f := range limitFlags {
		change, named, err := changed(t, "--"+f.name, "7", "id")
		if err != nil {
			t.Errorf("--%s: %v", f.name, err)
			continue
		}
		linux := specs.Linux{Resources: change.Resources, IntelRdt: change.Rdt}
		v := reflect.ValueOf(linux)
		for key := range strings.SplitSeq(strings.TrimPrefix(string(f.entry), "/"), "/") {
			v = entryOf(v, key)
		}
		if fmt.Sprint(v) != "7" {
			t.Errorf("--%s: %s is %v", f.name, f.entry, v)
		}
		if e := named(&fault.Error{Field: "/linux" + f.entry}); e.Field != fault.Pointer("--"+f.name) || e.Doc != "option" {
			t.Errorf("--%s is %+v", f.name, e)
		}
	}
}

// entryOf is the field of a struct that is this key of config.json.
func entryOf(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name == key {
			return reflect.Indirect(v.Field(i))
		}
	}
	return reflect.Value{}
}

// TestResourcesBesideFlags: the document takes the place of the flags for its
// limits, but for those of resctrl, which it has not.
func TestResourcesBesideFlags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r")
	if err := os.WriteFile(path, []byte(`{"pids":{"limit":5}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	change, named, err := changed(t, "--memory", "nonsense", "--pids-limit=9", "--mem-bw-schema=MB:0=7", "-r", path, "id")
	if err != nil || *change.Resources.Pids.Limit != 5 || change.Resources.Memory != nil || change.Rdt.MemBwSchema != "MB:0=7" {
		t.Errorf("%+v, %v", change, err)
	}
	for field, want := range map[fault.Pointer][2]string{
		"/linux/resources/pids/limit":    {path, "/pids/limit"},
		"/linux/intelRdt/memBwSchema":    {"option", "--mem-bw-schema"},
		"/linux/resources/cpu/realtimeX": {path, "/cpu/realtimeX"},
		"/mounts/3":                      {"", "/mounts/3"},
	} {
		if e := named(&fault.Error{Field: field}); e.Doc != want[0] || string(e.Field) != want[1] {
			t.Errorf("%s: %+v", field, e)
		}
	}
}

// TestPrintProcesses: whatever ps prints, the column PID tells whose line it is.
func TestPrintProcesses(t *testing.T) {
	const table = "USER   PID  COMMAND\nroot     1  init\nroot    12  sh -c 7\n\nroot     7\nodd line\n"
	var b strings.Builder
	if err := printProcesses(&b, table, []int{7, 12}); err != nil || b.String() != "USER   PID  COMMAND\nroot    12  sh -c 7\nroot     7\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, table := range []string{"", "COMMAND\nsh\n", "PPID\n1\n"} {
		if err := printProcesses(&b, table, nil); err == nil {
			t.Errorf("%q: no error", table)
		}
	}
}
