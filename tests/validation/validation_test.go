package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if isKeeper() {
		keep()
	}
	os.Exit(m.Run())
}

// TestValidation runs the whole suite against bin/berth, and with BERTH_PEERS=1 against runc and crun too, and holds the
// verdicts to expect.txt. A program that passes where the list says fail is a failure as well: the list is then behind.
func TestValidation(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] containers are made as root")
	}
	t.Run("berth", func(t *testing.T) { validate(t, "../../bin/berth") })
	for _, peer := range []string{"runc", "crun"} {
		t.Run(peer, func(t *testing.T) {
			if os.Getenv("BERTH_PEERS") == "" {
				t.Skip("[peers] BERTH_PEERS=1 checks what the list says of runc and crun")
			}
			validate(t, peer)
		})
	}
}

func validate(t *testing.T, binary string) {
	if strings.Contains(binary, "/") {
		if _, err := os.Stat(binary); err != nil {
			t.Skipf("[built] %s: run make first", filepath.Base(binary))
		}
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	s, err := prepare(top, binary)
	if err != nil {
		t.Fatal(err)
	}
	l, err := readList(s.list)
	if err != nil {
		t.Fatal(err)
	}
	report := map[job]result{}
	left := s.run(jobs(t, s, l), func(j job, r result) { report[j] = s.again(j, r, l) })
	for j, r := range report {
		t.Run(j.program+"/"+j.view, func(t *testing.T) { check(t, l.want(j.program, s.name, j.view), r) })
	}
	for _, line := range left {
		t.Log("left behind:", line)
	}
}

// jobs returns what can be judged here. What cannot be is a skipped test.
func jobs(t *testing.T, s *suite, l *list) []job {
	var all []job
	for _, view := range viewNames {
		if why := missing(view); why != "" {
			t.Run(view, func(t *testing.T) { t.Skip(why) })
			continue
		}
		for _, program := range s.programs {
			if why := l.elsewhere(program, view); why != "" {
				t.Run(program+"/"+view, func(t *testing.T) { t.Skip(why) })
				continue
			}
			all = append(all, job{program, view})
		}
	}
	return all
}

func check(t *testing.T, want string, r result) {
	got := r.verdict()
	switch {
	case agree(want, got):
	case want == unknown:
		t.Errorf("%s, but the list has no verdict: go run ./tests/validation -update", got)
	case got == "pass":
		t.Errorf("passes, but the list says %s: go run ./tests/validation -update, and take out the reason", want)
	default:
		t.Errorf("the list says %s: %s", want, r.why())
	}
	for _, line := range r.Left {
		t.Log("left behind:", line)
	}
}
