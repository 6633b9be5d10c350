// Package spec makes docs/SPEC.md: every field of the runtime specification, with the tests that prove it. The fields are
// the table in rows_test.go, the proofs are what tests declare (package declared), so that neither can go stale.
//
//	go test ./tests/spec -update
//
// writes the page anew. Without -update the test fails where the page is not what it would write, where a row has no
// proof, and where a test names a row that is not there.
package spec

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"berth/tests/declared"
)

var update = flag.Bool("update", false, "write docs/SPEC.md")

const (
	root = "../.."
	page = root + "/docs/SPEC.md"
)

func TestSpecification(t *testing.T) {
	tests, err := declared.Read(root, "spec")
	if err != nil {
		t.Fatal(err)
	}
	text, complaints := write(table, tests)
	for _, c := range complaints {
		t.Error(c)
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(page); err != nil || string(have) != text {
		t.Errorf("docs/SPEC.md is not what the tests declare (%v): go test ./tests/spec -update", err)
	}
}

// place is where a test can be run, from the nearest to the farthest.
type place int

const (
	plan     place = iota // pure: without root, without the kernel
	host                  // any Linux
	v2view                // cgroup v2 alone, or a mount namespace in which it is alone
	virtual               // a machine with systemd and every controller
	hardware              // what few machines have
)

func (p place) String() string {
	return [...]string{"plan", "host", "v2 view", "virtual machine", "hardware"}[p]
}

// places says what a condition asks of the machine. What a package manager installs asks for nothing, and neither does the
// absence of something.
var places = map[string]place{
	"root": host, "cgroup": host, "cgroupfs": host, "cgroup1": host, "v1": host, "!v2": host, "userns": host, "timens": host, "mknod": host,
	"ptmx": host, "pty": host, "amd64": host, "sys_resource": host, "loop": host, "bfq": host, "rt_group": host, "veth": host,
	"numa": host, "cpus2": host, "tmpfs-idmap": host, "weighted-interleave": host, "kept-affinity": host,
	"cgroup2": v2view, "v2": v2view, "hybrid": v2view, "hugetlb": v2view,
	"systemd": virtual, "swap": virtual, "apparmor": virtual, "selinux": virtual, "rdma": virtual, "criu": virtual,
	"resctrl": hardware,
	"arch":    plan, "berth": plan, "busybox": plan, "controllers": plan, "gcc": plan, "parent": plan, "runc": plan, "crun": plan,
	"seccomp.json": plan, "no-lsm": host,
}

// of returns the places where a test shows what it shows; a condition that is not known is an error.
func of(t declared.Test) ([]place, error) {
	p := plan
	if t.Script {
		p = host // it runs the binary
	}
	p, err := farthest(t, t.Needs, p)
	if err != nil {
		return nil, err
	}
	at := []place{p}
	if t.Views {
		at = []place{host, max(p, v2view)}
	}
	switch rest, err := farthest(t, t.Rest, p); {
	case err != nil:
		return nil, err
	case rest > p && !slices.Contains(at, rest):
		at = append(at, rest)
	}
	if inGuest(t) && !slices.Contains(at, virtual) && !slices.Contains(at, plan) {
		at = append(at, virtual)
	}
	return at, nil
}

// inGuest tells whether `make test-vm` runs the test: its package is among those of tests/vm/suite, and the guest has what
// it needs, up to a script's stops.
func inGuest(t declared.Test) bool {
	packages := []string{"nsenter", "cgroups", "libcontainer/process", "libcontainer/supervise", "tests", "tests/security"}
	return (t.Script || slices.Contains(packages, path.Dir(t.File))) &&
		!slices.ContainsFunc(t.Needs, func(name string) bool { return slices.Contains(notInGuest, name) })
}

// notInGuest are the conditions that do not hold there: Linux 6.1, cgroup v2 alone, no hardware of its own.
var notInGuest = []string{"v1", "!v2", "hybrid", "cgroup1", "tmpfs-idmap", "weighted-interleave", "rt_group", "resctrl",
	"no-lsm", "gcc", "controller:net_cls", "controller:net_prio"}

// farthest returns the place where all of the conditions hold.
func farthest(t declared.Test, conditions []string, p place) (place, error) {
	for _, name := range conditions {
		asked, ok := places[name]
		switch {
		case ok:
		case strings.HasPrefix(name, "exec:"), strings.HasPrefix(name, "!"):
		case strings.HasPrefix(name, "controller:"):
			asked = controller(name, t)
		default:
			return p, fmt.Errorf("%s: what [%s] asks of a machine is not in the table of places", t.File, name)
		}
		p = max(p, asked)
	}
	return p, nil
}

// controller is where a resource controller is: on v1 everywhere, but for those of the network; on v2 only where v1 does
// not have it.
func controller(name string, t declared.Test) place {
	if t.Views || slices.Contains(t.Needs, "v2") || strings.HasPrefix(name, "controller:net_") {
		return virtual
	}
	return host
}

// write returns the page, and what is wrong with the tests' declarations.
func write(table []section, tests []declared.Test) (string, []error) {
	var complaints []error
	proofs := map[string][]declared.Test{}
	for _, t := range tests {
		for _, r := range t.Rows {
			proofs[r] = append(proofs[r], t)
		}
	}
	var body, notes strings.Builder
	proven, total, guest := 0, 0, 0
	for _, s := range table {
		fmt.Fprintf(&body, "\n## %s\n\n| | field | implemented | proven by | seen |\n|-|-|-|-|-|\n", s.title)
		for _, r := range s.rows {
			number := strconv.Itoa(r.number)
			line, err := r.line(proofs[number])
			complaints = append(complaints, err...)
			body.WriteString(line)
			if r.note != "" {
				fmt.Fprintf(&notes, "- **%d** %s: %s\n", r.number, r.field, r.note)
			}
			if total++; r.later == "" && len(proofs[number]) > 0 {
				proven++
			}
			if strings.Contains(line, virtual.String()) {
				guest++
			}
			delete(proofs, number)
		}
	}
	for _, unknown := range slices.Sorted(maps.Keys(proofs)) {
		complaints = append(complaints, fmt.Errorf("%s declares row %s, which is not in the table", proofs[unknown][0].File, unknown))
	}
	return fmt.Sprintf(head, proven, total, guest) + notes.String() + body.String(), complaints
}

const head = `# The runtime specification, field by field

Made from what the tests declare (tests/spec): ` + "`go test ./tests/spec -update`" + ` writes it, and the test fails when it is stale
or when a row has no proof. %d of %d rows are implemented in full,
and %d are seen in the guest of ` + "`make test-vm`" + `: Linux 6.1 with cgroup v2, systemd and AppArmor
(or SELinux), through both cgroup managers.

*Seen* is where the tests run, read off what they need: *plan* is pure and runs anywhere; *host* needs a Linux, and root
for containers; *v2 view* needs cgroup v2, alone or beside v1; *virtual machine* is the guest, where
systemd, an LSM and all controllers are, *hardware* what few machines have. What is missing is skipped under its name.

## On purpose

`

// line is the row as a line of the table.
func (r row) line(tests []declared.Test) (string, []error) {
	var complaints []error
	implemented := "yes"
	switch {
	case r.later != "":
		implemented = "not yet: " + r.later
		if len(tests) > 0 {
			implemented = "in part: " + r.later + " is not there yet"
		}
	case r.note != "":
		implemented = "yes, see above"
	}
	var links []string
	seen := map[place]bool{}
	slices.SortStableFunc(tests, func(a, b declared.Test) int {
		// Scripts first: they are what a reader wants to see.
		return cmp.Or(-cmp.Compare(btoi(a.Script), btoi(b.Script)), cmp.Compare(a.File, b.File), cmp.Compare(a.Name, b.Name))
	})
	for _, t := range tests {
		at, err := of(t)
		if err != nil {
			complaints = append(complaints, err)
		}
		for _, p := range at {
			seen[p] = true
		}
		links = append(links, fmt.Sprintf("[%s](../%s)", title(t), t.File))
	}
	if len(tests) == 0 && r.later == "" {
		implemented = "no"
		complaints = append(complaints, fmt.Errorf("row %d (%s) has no test that declares it", r.number, r.field))
	}
	if len(seen) == 1 && seen[plan] {
		complaints = append(complaints, fmt.Errorf("row %d (%s) is shown by plans only, in no container", r.number, r.field))
	}
	var names []string
	for _, p := range slices.Sorted(maps.Keys(seen)) {
		names = append(names, p.String())
	}
	return fmt.Sprintf("| %d | %s | %s | %s | %s |\n", r.number, r.field, implemented,
		strings.Join(links, ", "), strings.Join(names, ", ")), complaints
}

// title is the test's name; most scripts are in tests/script, the others say where they are.
func title(t declared.Test) string {
	if dir := path.Base(path.Dir(t.File)); t.Script && dir != "script" {
		return dir + "/" + t.Name
	}
	return t.Name
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		test declared.Test
		want string
	}{
		{declared.Test{}, "[plan]"},
		{declared.Test{Needs: []string{"busybox"}}, "[plan]"},
		{declared.Test{Needs: []string{"root", "cgroup2"}}, "[v2 view]"},
		{declared.Test{Script: true}, "[host virtual machine]"},
		{declared.Test{File: "nsenter/a_test.go", Needs: []string{"root"}}, "[host virtual machine]"},
		{declared.Test{File: "nsenter/a_test.go"}, "[plan]"},
		{declared.Test{Script: true, Needs: []string{"root", "!resctrl"}}, "[host virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root", "v2"}}, "[v2 view virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root"}, Views: true}, "[host v2 view virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root", "controller:memory"}, Views: true}, "[host virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root", "!v2", "controller:memory"}}, "[host]"},
		{declared.Test{Script: true, Needs: []string{"root", "v2", "controller:memory"}}, "[virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"apparmor", "root"}}, "[virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"resctrl"}}, "[hardware]"},
		{declared.Test{Script: true, Needs: []string{"root"}, Rest: []string{"apparmor"}}, "[host virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root"}, Rest: []string{"!crun", "cpus2"}}, "[host virtual machine]"},
		{declared.Test{Script: true, Needs: []string{"root"}, Rest: []string{"berth"}, Views: true}, "[host v2 view virtual machine]"},
	} {
		if got, err := of(c.test); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%+v: %v, %v", c.test, got, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	last := 0
	for _, s := range table {
		for _, r := range s.rows {
			if r.number != last+1 {
				t.Errorf("row %d follows row %d", r.number, last)
			}
			last = r.number
		}
	}
}

func TestWrite(t *testing.T) {
	rows := []section{{"S", []row{
		{number: 1, field: "`one`"}, {number: 2, field: "`two`", note: "Because."},
		{number: 3, field: "`three`", later: "the driver"}, {number: 4, field: "`four`"}, {number: 5, field: "`five`"},
	}}}
	text, complaints := write(rows, []declared.Test{
		{Name: "TestA", File: "a/a_test.go", Rows: []string{"1", "2", "4"}},
		{Name: "a", File: "script/a.txtar", Rows: []string{"1", "9"}, Needs: []string{"root", "exec:sh", "!runc"}, Views: true, Script: true},
		{Name: "b", File: "s/b.txtar", Rows: []string{"2"}, Needs: []string{"root", "systemd"}, Script: true},
		{Name: "c", File: "s/c.txtar", Rows: []string{"2"}, Needs: []string{"moon"}, Script: true},
	})
	for _, want := range []string{
		"| 1 | `one` | yes | [a](../script/a.txtar), [TestA](../a/a_test.go) | plan, host, v2 view, virtual machine |\n",
		"| 2 | `two` | yes, see above | [s/b](../s/b.txtar), [s/c](../s/c.txtar), [TestA](../a/a_test.go) | plan, virtual machine |\n",
		"| 3 | `three` | not yet: the driver |  |  |\n",
		"- **2** `two`: Because.\n", "3 of 5 rows", "| 5 | `five` | no |  |  |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var got []string
	for _, c := range complaints {
		got = append(got, c.Error())
	}
	want := []string{
		"s/c.txtar: what [moon] asks of a machine is not in the table of places",
		"row 4 (`four`) is shown by plans only, in no container",
		"row 5 (`five`) has no test that declares it",
		"script/a.txtar declares row 9, which is not in the table",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
