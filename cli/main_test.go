package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// TestOneObject: podman reads the whole log as one JSON object.
func TestOneObject(t *testing.T) {
	for line, want := range map[string]string{
		"state h":                       "container does not exist",
		"state help":                    "container does not exist",
		"start x":                       "container does not exist",
		"delete x":                      "container does not exist",
		"kill x":                        "container does not exist",
		"kill x nosuch":                 "unknown signal",
		"kill x -1":                     "unknown signal",
		"delete --force a/b":            "invalid container ID format",
		"state":                         "takes the container's ID",
		"run --nosuch x":                "flag provided but not defined: -nosuch",
		"nosuch":                        "there is no such command",
		"create --bundle /dev x":        "no such file or directory",
		"create --preserve-fds=99999 x": "unable to stat preserved-fd",
		"--cgroup-manager=perhaps list": "takes cgroupfs, systemd or disabled",
		"--rootless=perhaps list":       "takes true, false or auto",
		"list --format xml":             "takes table or json",
		"pause x":                       "container does not exist",
		"resume x":                      "container does not exist",
		"ps x":                          "container does not exist",
		"ps":                            "takes the container's ID",
		"ps --format xml x":             "invalid format option",
		"update x":                      "container does not exist",
		"update":                        "takes the container's ID",
		"update --memory 1q x":          "invalid value for memory: invalid size: '1q'",
		"update --cpu-share -1 x":       "invalid value for cpu-share: \"-1\": invalid syntax",
		"update --blkio-weight 70000 x": "invalid value for blkio-weight: \"70000\": value out of range",
		"update -r /none x":             "no such file or directory",
		"update -r /dev/null x":         "not a regular file",
		"events x":                      "container does not exist",
		"events --stats x":              "container does not exist",
		"events --interval 0 x":         "duration interval must be greater than 0",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "log")
		args := append([]string{"berth", "--log", path, "--log-format=json", "-root", dir + "/none", "--root=" + dir + "/state"}, strings.Fields(line)...)
		if code := Main(args); code != 1 {
			t.Errorf("%s: exit status %d", line, code)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var object struct{ Level, Msg, Time string }
		if err := json.Unmarshal(raw, &object); err != nil || object.Level != "error" || object.Time == "" || !strings.Contains(object.Msg, want) {
			t.Errorf("%s: %v: %s", line, err, raw)
		}
	}
}

// TestCommands: a command line has the commands that it names, under their own names, or all.
func TestCommands(t *testing.T) {
	r := &runner{}
	all := r.commands(nil)
	for _, c := range all {
		if got := r.commands([]string{"berth", "--root", "x", c.Name, "id"}); len(got) != 1 || got[0].Name != c.Name {
			t.Errorf("%s: %d commands", c.Name, len(got))
		}
	}
	for _, line := range []string{"berth", "berth nosuch", "berth --help state", "berth state -h"} {
		if got := r.commands(strings.Fields(line)); len(got) != len(all) {
			t.Errorf("%s: %d commands of %d", line, len(got), len(all))
		}
	}
	if got := r.commands(strings.Fields("berth --root create state x")); len(got) != 2 {
		t.Errorf("%d commands of two that are named", len(got))
	}
}

func TestForceOfMissing(t *testing.T) {
	if code := Main([]string{"berth", "--root", t.TempDir(), "delete", "--force", "none"}); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestMarshalList(t *testing.T) {
	l := &log{json: true}
	err := fault.List{{Op: "a", Field: "/x", Msg: "one"}, {Op: "b", Field: "/y", Errno: unix.ENOENT}}
	var got struct {
		Msg    string
		Errors []struct{ Field, Errno string }
	}
	if json.Unmarshal(l.marshal("error", "now", err), &got) != nil || len(got.Errors) != 2 || got.Errors[1].Errno != "ENOENT" || got.Errors[0].Field != "/x" {
		t.Errorf("got %+v", got)
	}
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{
		"9": unix.SIGKILL, "KILL": unix.SIGKILL, "SIGKILL": unix.SIGKILL, "sigterm": unix.SIGTERM, "0": 0, "64": 64,
	} {
		if got, err := parseSignal(name); err != nil || got != want {
			t.Errorf("%s: got %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "65", "-9", "NOSUCH", "SIG", "9 "} {
		if _, err := parseSignal(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
