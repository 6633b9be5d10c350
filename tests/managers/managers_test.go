// Package managers runs Berth under the real managers of containers, from Debian's packages: NAME.cases is what a user of the
// manager NAME types and has to see. Every case runs with Berth and with runc, each on a machine of its own (the script
// machine), so that a difference is Berth's or the manager's. The package prints a table of them in the end. Those that need
// systemd run in the guest of the virtual machine (tests/vm).
//
// BERTH_MANAGERS=REGEXP runs only the cases whose "MANAGER/CASE" matches.
package managers

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	casePatience  = 2 * time.Minute // for one case, on a machine that is shared
	ownPatience   = 3 * time.Minute // for the start and the stop of a manager
	casesAtOnce   = 6               // of all machines
	casesAtOnceOf = 3               // of one machine
)

// A manager has a suite, and a program without which it is not here.
type manager struct{ suite, program string }

// managers are those that get machines of their own.
var managers = []manager{
	{"swarm", "dockerd"}, // takes longest
	{"docker", "dockerd"},
	{"docker-remapped", "dockerd"},
	{"podman", "podman"},
	{"podman-rootless", "podman"},
	{"hand", "umoci"},
	{"containerd", "containerd"},
}

// onSystemd are those where systemd makes the groups.
var onSystemd = []manager{
	{"podman-systemd", "podman"},
	{"podman-rootless-systemd", "podman"},
}

var runtimes = []string{"berth", "runc"}

// A result is what became of a case with one runtime.
type result struct {
	verdict string // ok, FAIL, differs, skip, -; "ok, 2nd": when it was tried once more
	log     string
	took    time.Duration
}

// A bench carries out suites and keeps the results.
type bench struct {
	machine  func(manager, runtime, programs string) (*machine, error)
	programs string // directory of those that every machine gets: berth, berth-layer, cri
	only     *regexp.Regexp
	slots    chan struct{}
	mu       sync.Mutex
	result   map[string]result // by key
}

func key(manager, name, runtime string) string { return manager + "/" + name + "/" + runtime }

func TestManagers(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		t.Skip("[cgroup1] the cases read limits where version 1 has them")
	}
	b := newBench(boot)
	suites := b.suites(t, managers)
	b.programs = programs(t, "berth", "berth-layer")
	addCRI(t, b.programs)
	removeStale()
	before := hostState()
	var all sync.WaitGroup
	for _, s := range suites {
		for _, runtime := range runtimes {
			all.Go(func() { b.carryOut(s, runtime) })
		}
	}
	all.Wait()
	if after := hostState(); after != before {
		t.Errorf("the machine was\n%sand is\n%s", before, after)
	}
	b.reportAll(t, suites)
}

// TestOnSystemd runs one suite with one runtime after the other, because all have the same machine. It is a slow one: with
// runc only what fails is run, or all if BERTH_PEERS is set.
func TestOnSystemd(t *testing.T) {
	if os.Getenv("BERTH_GUEST") == "" {
		t.Skip("[guest] BERTH_GUEST=1 says that this machine, with systemd and cgroup v2, is a guest that nobody needs afterwards")
	}
	b := newBench(guest)
	suites := b.suites(t, onSystemd)
	b.programs = programs(t, "berth")
	for _, s := range suites {
		b.carryOut(s, "berth")
		var failed []step
		for _, c := range s.cases {
			if b.get(s, c.name, "berth").verdict == "FAIL" || os.Getenv("BERTH_PEERS") != "" {
				failed = append(failed, c)
			}
			b.put(s, c.name, "runc", result{verdict: "-"})
		}
		if failed != nil {
			b.carryOut(suite{s.name, s.start, s.stop, failed}, "runc")
		}
	}
	b.reportAll(t, suites)
}

func newBench(machine func(manager, runtime, programs string) (*machine, error)) *bench {
	return &bench{only: regexp.MustCompile(os.Getenv("BERTH_MANAGERS")), machine: machine,
		slots: make(chan struct{}, casesAtOnce), result: map[string]result{}}
}

// reportAll makes a test of each case, and prints the table.
func (b *bench) reportAll(t *testing.T, suites []suite) {
	for _, s := range suites {
		for _, c := range s.cases {
			t.Run(s.name+"/"+strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { b.report(t, s, c) })
		}
	}
	b.printTable(suites)
}

// suites reads those that are asked for and whose manager is here.
func (b *bench) suites(t *testing.T, managers []manager) []suite {
	var out []suite
	for _, m := range managers {
		s, err := readSuite(m.suite+".cases", m.suite)
		if err != nil {
			t.Fatal(err)
		}
		s.cases = slices.DeleteFunc(s.cases, func(c step) bool { return !b.only.MatchString(s.name + "/" + c.name) })
		if len(s.cases) == 0 {
			continue
		}
		if _, err := exec.LookPath(m.program); err != nil {
			t.Run(s.name, func(t *testing.T) { t.Skipf("[%s] not installed: tests/setup managers", m.program) })
			continue
		}
		for i := range s.cases {
			if c := &s.cases[i]; c.needs != "" && exec.Command("sh", "-c", c.needs).Run() != nil {
				c.skip = fmt.Sprintf("[%s] %s", c.needsName, c.needs)
			}
		}
		s.cases = append(s.cases, step{name: "started and stopped", want: "-"}, step{name: "nothing is left", want: "-"})
		out = append(out, s)
	}
	return out
}

// programs is a directory with those of bin/ that are asked for. It is on the file system of /tmp:
// machines cover much of the rest.
func programs(t *testing.T, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
		variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		raw, err := os.ReadFile(cmp.Or(os.Getenv(variable), "../../bin/"+name))
		if err == nil {
			err = os.WriteFile(dir+"/"+name, raw, 0o755)
		}
		if err != nil {
			t.Fatalf("there is no %s to test: run make first, or set %s (%v)", name, variable, err)
		}
	}
	return dir
}

func addCRI(t *testing.T, dir string) {
	build := exec.Command("go", "build", "-o", dir+"/cri", ".")
	build.Dir, build.Env = "cri", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("tests/managers/cri: %v\n%s", err, out)
	}
}

func (b *bench) put(s suite, name, runtime string, r result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result[key(s.name, name, runtime)] = r
}

func (b *bench) get(s suite, name, runtime string) result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.result[key(s.name, name, runtime)]
}

// carryOut runs a suite with one runtime: boot, start, the cases, stop, what is left.
func (b *bench) carryOut(s suite, runtime string) {
	own := func(name, log string) { b.put(s, name, runtime, verdict(log)) }
	m, err := b.machine(s.name, runtime, b.programs)
	if err != nil {
		own("started and stopped", err.Error())
		return
	}
	before, err := m.snapshot()
	log := complaint(err)
	if log == "" {
		log = m.own(s.start)
	}
	if log == "" {
		b.runCases(m, s)
		log = m.own(s.stop)
	}
	own("started and stopped", log)
	var left []string
	if log == "" && !eventually(func() bool {
		after, err := m.snapshot()
		left = before.left(after)
		return err == nil && len(left) == 0
	}) {
		log = strings.Join(left, "\n")
	}
	r := verdict(strings.TrimSpace(log + "\n" + complaint(m.end())))
	if runtime != "berth" { // what it leaves is shown, and is not ours
		r = theirs(r)
	}
	b.put(s, "nothing is left", runtime, r)
}

func theirs(r result) result {
	if r.verdict == "FAIL" {
		r.verdict = "differs"
	}
	return r
}

func complaint(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func verdict(log string) result {
	if log != "" {
		return result{verdict: "FAIL", log: log}
	}
	return result{verdict: "ok"}
}

// own runs what starts or stops a manager, and says what went wrong.
func (m *machine) own(c step) string {
	out, errs, err := m.run("set -eu\n"+c.script, c.name, ownPatience)
	if err != nil {
		return fmt.Sprintf("%s: %v\n%s%s", c.name, err, out, errs)
	}
	return ""
}

func (b *bench) runCases(m *machine, s suite) {
	var all sync.WaitGroup
	here := make(chan struct{}, casesAtOnceOf)
	for i, c := range s.cases {
		if c.script == "" || c.skip != "" {
			continue
		}
		if c.alone {
			all.Wait()
		}
		here <- struct{}{}
		b.slots <- struct{}{}
		all.Go(func() {
			defer func() { <-here; <-b.slots }()
			b.put(s, c.name, m.runtime, runCase(m, c, fmt.Sprintf("case%d", i)))
		})
		if c.alone {
			all.Wait()
		}
	}
	all.Wait()
	// Managers have races of their own, which load brings out: what failed is tried once more, alone.
	for i, c := range s.cases {
		if b.get(s, c.name, m.runtime).verdict == "FAIL" {
			if r := runCase(m, c, fmt.Sprintf("again%d", i)); r.verdict != "FAIL" {
				r.verdict += ", 2nd"
				b.put(s, c.name, m.runtime, r)
			}
		}
	}
}

// runCase runs a case's script, with name for its containers.
func runCase(m *machine, c step, name string) result {
	begin := time.Now()
	out, errs, err := m.run(c.script, name, casePatience)
	r := result{verdict: "ok", took: time.Since(begin)}
	if out != c.want || err != nil && strings.HasPrefix(err.Error(), "not done") {
		r.verdict, r.log = "FAIL", fmt.Sprintf("wanted:\n%sgot (%v):\n%serrors:\n%s", c.want, err, out, errs)
	}
	if m.runtime != "berth" && c.runcDiffers != "" {
		r = theirs(r)
	}
	return r
}

// report makes a test of a case: Berth has to do what is wanted, and runc too unless it is known to differ; otherwise the case
// is wrong, or the manager's own.
func (b *bench) report(t *testing.T, s suite, c step) {
	if c.skip != "" {
		t.Skip(c.skip)
	}
	for _, runtime := range runtimes {
		switch r, ok := b.result[key(s.name, c.name, runtime)]; {
		case !ok:
			t.Errorf("%s: not run", runtime)
		case r.verdict == "FAIL" && !t.Failed():
			t.Errorf("%s%s: %s", c.script, runtime, r.log)
		case r.verdict == "FAIL":
			t.Errorf("%s: %s", runtime, r.log)
		case r.verdict == "ok" && runtime == "runc" && c.runcDiffers != "":
			t.Errorf("runc does not differ any more: %s", c.runcDiffers)
		}
	}
}

func (b *bench) printTable(suites []suite) {
	fmt.Printf("\n%-15s %-66s %-14s %-14s\n", "manager", "case", "berth", "runc")
	for _, s := range suites {
		for _, c := range s.cases {
			fmt.Printf("%-15s %-66s", s.name, c.name)
			for _, runtime := range runtimes {
				r, ok := b.result[key(s.name, c.name, runtime)]
				switch {
				case c.skip != "":
					r.verdict = "skip"
				case !ok:
					r.verdict = "-"
				}
				cell := r.verdict
				if r.took > 0 {
					cell += fmt.Sprintf(" %.1fs", r.took.Seconds())
				}
				fmt.Printf(" %-14s", cell)
			}
			reason := c.runcDiffers + c.skip
			if r := b.result[key(s.name, c.name, "runc")]; reason == "" && r.verdict == "differs" {
				first, rest, _ := strings.Cut(r.log, "\n")
				reason = fmt.Sprintf("%s and %d more", first, strings.Count(rest, "\n")+1)
			}
			fmt.Println(strings.TrimRight(" "+reason, " "))
		}
	}
}
