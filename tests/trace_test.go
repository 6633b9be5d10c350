package tests

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The phases of a command have no gap between them and are the time that it takes, as whoever starts it sees it: within
// 5 %, where the machine is not so busy that starting and reaping a process takes longer. The command's own part of that,
// the end of its process, is some 0.3 ms.
func TestTraceIsTheWallTime(t *testing.T) {
	if !rootTests() {
		t.Skip("[root] needs root")
	}
	w := newWorkshop(t, configuration{})
	w.write(t, "b", configuration{patch: `{"process":{"args":["sleep","0.1"]}}`})
	best := 0.0
	for range 20 {
		file := filepath.Join(w.dir, "trace.json")
		os.Remove(file)
		run := w.command(berth(t), "--root", w.dir+"/state", "--trace", file, "run", "-b", "b", w.id)
		begin := time.Now()
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wall := time.Since(begin)
		phases := readPhases(t, file)
		sum := int64(0)
		for i, p := range phases {
			sum += p.time
			if i > 0 && p.begin != phases[i-1].begin+phases[i-1].time {
				t.Fatalf("%s does not begin where %s ends", p.name, phases[i-1].name)
			}
		}
		if phases[0].name != "execve" || sum > wall.Microseconds() {
			t.Fatalf("from %s on %d µs, of %d that the command took", phases[0].name, sum, wall.Microseconds())
		}
		if best = max(best, float64(sum)/float64(wall.Microseconds())); best >= 0.95 {
			return
		}
	}
	t.Errorf("phases are %.1f %% of the command's time at best", 100*best)
}

type tracedPhase struct {
	name        string
	begin, time int64 // microseconds
}

// readPhases reads the phases of a file that one command has written.
func readPhases(t *testing.T, file string) (phases []tracedPhase) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Name, Cat string
		TS, Dur   int64
	}
	if err := json.Unmarshal(append(bytes.TrimSpace(raw), ']'), &events); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Cat == "phase" {
			phases = append(phases, tracedPhase{e.Name, e.TS, e.Dur})
		}
	}
	return phases
}
