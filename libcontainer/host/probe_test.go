package host

import (
	"slices"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for release, want := range map[string]Version{
		"6.18.44-fc-v769":    {6, 18},
		"5.10.0-28-amd64":    {5, 10},
		"6.1":                {6, 1},
		"7.0-rc1":            {7, 0},
		"4.18.0-553.el8.x86": {4, 18},
		"":                   {},
	} {
		if got := parseVersion(release); got != want {
			t.Errorf("%q: %v, want %v", release, got, want)
		}
	}
}

func TestAtLeast(t *testing.T) {
	v := Version{5, 12}
	for _, c := range []struct {
		major, minor int
		want         bool
	}{{5, 12, true}, {5, 13, false}, {4, 20, true}, {6, 0, false}, {5, 2, true}} {
		if got := v.AtLeast(c.major, c.minor); got != c.want {
			t.Errorf("5.12 at least %d.%d: %v", c.major, c.minor, got)
		}
	}
}

func TestProbe(t *testing.T) {
	f := Probe()
	if !f.Kernel.AtLeast(5, 10) || f.LastCap < 30 || !slices.Contains(f.Namespaces, "mnt") {
		t.Errorf("%+v", f)
	}
}
