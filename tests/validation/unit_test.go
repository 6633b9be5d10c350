package main

import (
	"os"
	"strings"
	"testing"
)

func TestWhy(t *testing.T) {
	const head = "TAP version 13\n"
	for _, c := range []struct {
		name string
		r    result
		want string
	}{
		{"all tests pass", result{Stdout: head + "ok 1 - a\nok 2 - b # SKIP\n1..2\n"}, ""},
		{"nothing to say", result{}, ""},
		{"a test fails", result{Stdout: head + "ok 1 - a\nnot ok 2 - b\n1..2\n"}, "not ok 2 - b"},
		{"with its error", result{Stdout: head + "not ok 1 - a\n  ---\n  {\n    \"error\": \"no\\n such\",\n  }\n  ...\n1..1\n"}, "not ok 1 - a: no such"},
		{"an expected error is no failure", result{Stdout: head + "ok 1 - a\n  ---\n  {\n    \"error\": \"exit status 1\"\n  }\n1..1\n"}, ""},
		{"a failure still to do", result{Stdout: head + "not ok 1 # TODO later\n1..1\n"}, ""},
		{"only a remark", result{Stdout: head + "  ---\n  {\n    \"error\": \"hooks\"\n  }\n  ...\n1..0\n"}, "hooks"},
		{"no test, no remark", result{Stdout: head + "1..0\n"}, ""},
		{"breaks off", result{Stdout: head + "ok 1 - a\n"}, "0 tests planned, 1 reported"},
		{"two documents", result{Stdout: head + "ok 1 - a\n1..1\n" + head + "1..0\n"}, ""},
		{"exit status", result{Exit: 1, Stderr: "no\n such\n"}, "exit status 1: no such"},
		{"timeout", result{Exit: -1}, "killed or timed out"},
		{"never ran", result{Failed: "no keeper"}, "no keeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.why(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestListFormat holds expect.txt to the form in which -update would write it.
func TestListFormat(t *testing.T) {
	text, err := os.ReadFile("expect.txt")
	if err != nil {
		t.Fatal(err)
	}
	l, err := readList("expect.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.String(); got != string(text) {
		t.Errorf("go run ./tests/validation -update would rewrite expect.txt:\n%s", got)
	}
}

// TestReasons holds the rule that what does not simply pass has its reason written down.
func TestReasons(t *testing.T) {
	l, err := readList("expect.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l.entries {
		if e.program == "" {
			continue
		}
		for i, word := range e.words[0] {
			switch word {
			case "pass", unknown:
			case "fail", race, either:
				if len(e.reason) == 0 {
					t.Errorf("%s, %s: %s without a reason", e.program, viewNames[i], word)
				}
			default:
				t.Errorf("%s, %s: %q is no verdict", e.program, viewNames[i], word)
			}
		}
		if c := e.condition(); c != "" {
			if _, known := conditionHolds(c); !known {
				t.Errorf("%s: unknown condition %q", e.program, c)
			}
		}
	}
}

func TestListSet(t *testing.T) {
	l := &list{}
	l.set("b", "berth", "v1", "pass")
	l.set("a", "crun", "v2", "fail")
	want := strings.Join([]string{
		"a                               | ?    ?    ?    ?    ?    | ?    ?    ?    ?    ?    | ?    ?    fail ?    ?",
		"b                               | ?    pass ?    ?    ?    | ?    ?    ?    ?    ?    | ?    ?    ?    ?    ?",
		"",
	}, "\n")
	if got := l.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := l.want("b", "berth", "v1"); got != "pass" {
		t.Errorf("b: %s", got)
	}
	if got := l.want("c", "berth", "v1"); got != unknown {
		t.Errorf("c: %s", got)
	}
}

func TestParseStat(t *testing.T) {
	pid, parent, name, ok := parseStat("12 (a b) c) S 7 12 12 0 -1")
	if pid != 12 || parent != 7 || name != "a b) c" || !ok {
		t.Errorf("got %d %d %q %v", pid, parent, name, ok)
	}
	if _, _, _, ok := parseStat("12 (sh) Z 7 12"); ok {
		t.Error("a zombie is taken for a process")
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		l    layout
		view string
		want string
	}{
		{layout{nested: true}, "hybrid", ""},
		{layout{nested: true}, "v1", ""},
		{layout{nested: true}, "v2", ""},
		{layout{unified: true}, "hybrid", "[cgroup-hybrid] no cgroup2 at /sys/fs/cgroup/unified"},
		{layout{unified: true}, "v1", "[cgroup-v1] no v1 hierarchies"},
		{layout{unified: true}, "v2", "[cgroup-hybrid] no cgroup2 at /sys/fs/cgroup/unified"},
		{layout{unified: true}, "unified", ""},
		{layout{nested: true}, "unified", "[cgroup-unified] no cgroup2 with all controllers at /sys/fs/cgroup"},
		{layout{unified: true}, "systemd", "[systemd] systemd is not running"},
		{layout{unified: true, systemd: true}, "systemd", ""},
		{layout{}, "v1", ""},
		{layout{}, "v2", "[cgroup-hybrid] no cgroup2 at /sys/fs/cgroup/unified"},
	} {
		if got := c.l.missing(c.view); got != c.want {
			t.Errorf("%+v %s: got %q, want %q", c.l, c.view, got, c.want)
		}
	}
}
