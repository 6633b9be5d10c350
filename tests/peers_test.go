package tests

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const peersFile = "script/peers.txt"

const peersHead = `# What Debian's runc and crun do with the scripts of this directory: the same, a difference at the named line (and why), or
# nothing because the script says that it is not for them. Differences are facts about the peers, not tests of them.
#
#	BERTH_PEERS=1 go test ./tests -run Peers -update
#
# writes the verdicts; what stands behind '#' is kept.
`

// The same transcripts on the runtimes that Berth stands in for. BERTH_PEERS=1 runs it.
func TestScriptsOnPeers(t *testing.T) {
	if os.Getenv("BERTH_PEERS") == "" {
		t.Skip("[peers] BERTH_PEERS=1 runs the scripts on runc and crun")
	}
	if !rootTests() {
		t.Skip("[root] needs root")
	}
	known := readPeers(t)
	var got []peer
	for _, name := range []string{"runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Logf("%s is not installed", name)
			got = append(got, known.of(name)...)
			continue
		}
		s := scripts{runtime: path, files: glob(t, "script/*.txtar")}
		if name == "crun" && hybrid() {
			s.view = "v1" // crun refuses the hybrid layout
		}
		got = append(got, s.record(t, name)...)
	}
	slices.SortStableFunc(got, func(a, b peer) int { return strings.Compare(a.script, b.script) })
	for i := range got {
		got[i].reason = known.reason(got[i])
	}
	if *update {
		writePeers(t, got)
		return
	}
	for _, p := range got {
		if p.verdict != known.verdict(p) {
			t.Errorf("%s\nthe list has %q", p, known.verdict(p))
		}
		if p.reason == "" && strings.HasPrefix(p.verdict, "differs") {
			t.Errorf("%s: the list has no reason", p)
		}
	}
}

// peer is what one runtime does with one script.
type peer struct{ script, runtime, verdict, reason string }

func (p peer) String() string {
	line := fmt.Sprintf("%-26s %s  %s", p.script, p.runtime, p.verdict)
	if p.reason != "" {
		line += "  # " + p.reason
	}
	return line
}

type peers []peer

func (l peers) find(p peer) peer {
	for _, k := range l {
		if k.script == p.script && k.runtime == p.runtime {
			return k
		}
	}
	return peer{}
}

func (l peers) verdict(p peer) string { return l.find(p).verdict }

func (l peers) reason(p peer) string { return l.find(p).reason }

func (l peers) of(runtime string) []peer {
	return slices.DeleteFunc(slices.Clone(l), func(p peer) bool { return p.runtime != runtime })
}

func readPeers(t *testing.T) peers {
	f, err := os.Open(peersFile)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out peers
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, reason, _ := strings.Cut(lines.Text(), "  # ")
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] == "#" {
			continue
		}
		_, verdict, _ := strings.Cut(line, fields[1]+"  ")
		out = append(out, peer{fields[0], fields[1], strings.TrimSpace(verdict), reason})
	}
	return out
}

func writePeers(t *testing.T, list []peer) {
	var b strings.Builder
	b.WriteString(peersHead)
	last := ""
	for _, p := range list {
		if p.script != last {
			b.WriteByte('\n')
		}
		last = p.script
		fmt.Fprintln(&b, p)
	}
	if err := os.WriteFile(peersFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// record runs the scripts and notes what becomes of each.
func (s scripts) record(t *testing.T, name string) []peer {
	r := &recorder{slots: make(chan bool, runtime.NumCPU())}
	params := s.params(t)
	params.Deadline = time.Now().Add(time.Minute) // what differs may well wait for ever
	testscript.RunT(r, params)
	r.running.Wait()
	var out []peer
	for _, sub := range r.subs {
		out = append(out, peer{script: sub.name, runtime: name, verdict: sub.verdict()})
		if sub.failed && testing.Verbose() {
			t.Logf("%s %s\n%s", name, sub.name, sub.log.String())
		}
	}
	return out
}

// recorder is a testing.T of testscript's that notes instead of failing.
type recorder struct {
	name    string
	slots   chan bool
	running sync.WaitGroup
	subs    []*recorder

	failed, skipped bool
	log             strings.Builder
}

func (r *recorder) Skip(args ...any) {
	r.skipped = true
	fmt.Fprint(&r.log, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	fmt.Fprint(&r.log, args...)
	r.FailNow()
}

func (r *recorder) FailNow() {
	r.failed = true
	runtime.Goexit()
}

func (r *recorder) Log(args ...any) { fmt.Fprintln(&r.log, args...) }

func (r *recorder) Parallel()     {}
func (r *recorder) Verbose() bool { return false }

func (r *recorder) Run(name string, f func(testscript.T)) {
	sub := &recorder{name: name, slots: r.slots}
	r.subs = append(r.subs, sub)
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		r.slots <- true
		defer func() { <-r.slots }()
		f(sub)
	}()
}

var failedAt = compiled(`FAIL: (\S+):(\d+): `)

// verdict is "same", "skipped", or "differs at" with the line of the script.
func (r *recorder) verdict() string {
	switch {
	case r.skipped:
		return "skipped"
	case !r.failed:
		return "same"
	}
	found := failedAt().FindStringSubmatch(r.log.String())
	if found == nil {
		return "differs"
	}
	raw, err := os.ReadFile(filepath.Clean(found[1]))
	if err != nil {
		return "differs"
	}
	n, _ := strconv.Atoi(found[2])
	return "differs at: " + strings.Split(string(raw), "\n")[n-1]
}
