package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// line is one event of the file.
type line struct {
	Name     string            `json:"name"`
	Category string            `json:"cat"`
	Phase    string            `json:"ph"`
	Begin    int64             `json:"ts"` // microseconds
	Duration int64             `json:"dur"`
	PID      int               `json:"pid"`
	TID      int               `json:"tid"`
	Color    string            `json:"cname"`
	Args     map[string]string `json:"args"`
}

// read is the file's events, as a reader of JSON sees them behind which the array is ended.
func read(t *testing.T, path string) []line {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	if err := json.Unmarshal(append(raw, ']'), &lines); err != nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	return lines
}

func of(kind string, lines []line) []line {
	return slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return l.Category != kind })
}

func open(t *testing.T, caller string, earlier ...Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.json")
	if err := Open(path, "berth test", caller, earlier); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { current = nil })
	return path
}

// Phases have no gap between them, so they are the whole time from the first to the end of Close, but for the writing.
func TestPhasesAreTheWholeTime(t *testing.T) {
	before := time.Now().UnixMicro()
	path := open(t, "", Event{Name: "process", Begin: 1000 * (before - 5000), End: 1000 * (before - 2000)},
		Event{Name: "Go runtime", Begin: 1000 * (before - 2000), End: 1000 * (before - 1000)})
	Phase("one")
	time.Sleep(2 * time.Millisecond)
	span := Begin("hook", "within", "/bin/x")
	Phase("a")
	time.Sleep(time.Millisecond)
	Phase("b")
	span.End(nil)
	Phase("two")
	if err := Close(); err != nil {
		t.Fatal(err)
	}
	after := time.Now().UnixMicro()
	phases := of(kindPhase, read(t, path))
	var names []string
	var sum int64
	for i, p := range phases {
		names = append(names, p.Name)
		sum += p.Duration
		if i > 0 && p.Begin != phases[i-1].Begin+phases[i-1].Duration {
			t.Errorf("%s does not begin where %s ends", p.Name, phases[i-1].Name)
		}
	}
	if want := "process,Go runtime,command line,one,two,trace"; strings.Join(names, ",") != want {
		t.Errorf("got %s, want %s", names, want)
	}
	first, last := phases[0].Begin, phases[len(phases)-1]
	if first != before-5000 || last.Begin+last.Duration > after || first+sum != last.Begin+last.Duration {
		t.Errorf("phases are %d µs from %d on; the test began at %d and ended at %d", sum, first, before, after)
	}
	if within := of("hook", read(t, path)); len(within) != 1 || within[0].Duration < 1000 || within[0].Args["path"] != "/bin/x" {
		t.Errorf("got %v", within)
	}
	if parts := of(kindPart, read(t, path)); len(parts) != 2 || parts[0].Begin+parts[0].Duration > parts[1].Begin {
		t.Errorf("got %v", parts)
	}
}

func TestFailure(t *testing.T) {
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		do   func() error
		want string // what is marked
	}{
		"last phase":       {func() error { Phase("one"); return cause }, "one: cause"},
		"none":             {func() error { Phase("one"); Fail(nil); return nil }, ""},
		"before an undo":   {func() error { Phase("one"); Fail(cause); Phase("undo"); return fmt.Errorf("told: %w", cause) }, "one: cause"},
		"and in the undo":  {func() error { Phase("one"); Fail(cause); Phase("undo"); return errors.New("other") }, "one: cause,undo: other"},
		"a span":           {func() error { Begin("hook", "h", "").End(cause); Phase("two"); return nil }, "h: cause"},
		"a span with path": {func() error { Begin("hook", "h", "/p").End(cause); return nil }, "h: cause"},
	} {
		t.Run(name, func(t *testing.T) {
			path := open(t, "")
			Fail(c.do())
			if err := Close(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range read(t, path) {
				if text, ok := l.Args["error"]; ok {
					got = append(got, fmt.Sprint(l.Name, ": ", text))
				}
				if (l.Color != "") != (l.Args["error"] != "") {
					t.Errorf("%s has the color %q", l.Name, l.Color)
				}
			}
			if strings.Join(got, ",") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSpansThatDoNotEnd(t *testing.T) {
	path := open(t, "")
	outer := Begin("hook", "outer", "")
	Begin("systemd", "inner", "")
	outer.End(nil)
	Begin("hook", "open", "")
	if err := Close(); err != nil {
		t.Fatal(err)
	}
	lines := read(t, path)
	end := lines[len(lines)-1].Begin
	for _, l := range lines {
		if l.Phase == "X" && (l.Begin > end || l.Duration > time.Minute.Microseconds()) {
			t.Errorf("%s: %d for %d", l.Name, l.Begin, l.Duration)
		}
	}
	outer.End(nil) // behind Close it is nothing
}

func TestTracks(t *testing.T) {
	path := open(t, "")
	Subject("box \"ü\"\\\x00\n")
	Late(func() []Track {
		return []Track{{PID: 42, Name: "init", Events: []Event{{Name: "mount", Kind: "step", Begin: 1_500, End: 1_000}, {Name: "x", Kind: "step", Begin: 2_999, End: 3_500}}}}
	})
	if err := Close(); err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range read(t, path) {
		if l.Name == "process_name" && l.Phase == "M" {
			names[l.PID] = l.Args["name"]
		}
	}
	if names[42] != "init" || names[os.Getpid()] != "berth test box \"ü\"\\\x00\n" {
		t.Errorf("got %v", names)
	}
	steps := of("step", read(t, path))
	if len(steps) != 2 || steps[0].Duration != 0 || steps[1].Begin != 2 || steps[1].Duration != 1 || steps[1].PID != 42 || steps[1].TID != 42 {
		t.Errorf("got %+v", steps)
	}
}

func TestCaller(t *testing.T) {
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for value, known := range map[string]bool{
		"00-" + trace + "-" + parent + "-01":                   true,
		"00-" + trace + "-" + parent + "-00":                   true,
		"cc-" + trace + "-" + parent + "-01-more":              true, // of a later version
		"00-" + trace + "-" + parent + "-01-more":              false,
		"ff-" + trace + "-" + parent + "-01":                   false,
		"00-" + strings.ToUpper(trace) + "-" + parent + "-01":  false,
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01": false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01":  false,
		"00-" + trace + "-" + parent:                           false,
		"00-" + trace[1:] + "-" + parent + "-01":               false,
		"":                                                     false,
	} {
		path := open(t, value)
		Begin("hook", "h", "/p").End(nil)
		if err := Close(); err != nil {
			t.Fatal(err)
		}
		for _, l := range read(t, path) {
			if l.Phase == "M" {
				continue
			}
			if got := l.Args["trace_id"] == trace && l.Args["parent_id"] == parent; got != known {
				t.Errorf("%q: %s has %v", value, l.Name, l.Args)
			}
			if l.Name == "h" && l.Args["path"] != "/p" {
				t.Errorf("%q: its own arguments are gone: %v", value, l.Args)
			}
		}
	}
}

// What a file may have in it before, and what it has then.
func TestAppending(t *testing.T) {
	const mine = `{"name":"mine"}` + "\n" // as it is written
	for had, want := range map[string]string{
		"":                      "[\n" + mine,
		"[":                     "[\n" + mine,
		"[\n":                   "[\n" + mine,
		"[]":                    "[\n" + mine,
		"[ ]\n":                 "[\n" + mine,
		"[{\"a\":1}":            "[{\"a\":1},\n" + mine,
		"[\n{\"a\":1},\n":       "[\n{\"a\":1},\n" + mine,
		"[{\"a\":1}\n]\n":       "[{\"a\":1},\n" + mine,
		"{\"traceEvents\":[]}":  "",
		"hello":                 "",
		"[1, 2":                 "",
		"\n":                    "",
		"[{\"cut\":\"in the mi": "",
		"[" + strings.Repeat("{\"a\":1},\n", 100): "[" + strings.Repeat("{\"a\":1},\n", 100) + mine,
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(had), 0o600); err != nil {
			t.Fatal(err)
		}
		err := withFile(path, func(f *os.File) error { return appendTo(f, []byte(strings.TrimSuffix(mine, "\n")+separator)) })
		got, _ := os.ReadFile(path)
		switch {
		case want == "" && (!errors.Is(err, errNoTrace) || string(got) != had):
			t.Errorf("%q: %v, and then %q", had, err, got)
		case want != "" && (err != nil || string(got) != want):
			t.Errorf("%q: %v, got %q, want %q", had, err, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		dir:          syscall.EISDIR,
		dir + "/a/b": syscall.ENOENT,
		fifo:         errNoFile,
		"/dev/null":  errNoFile,
	} {
		if err := Open(path, "x", "", nil); !errors.Is(err, want) || On() {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

// Several commands at once write whole events.
func TestConcurrentAppending(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			events := strings.Repeat(fmt.Sprintf("{\"name\":\"%d\"},\n", i), 50)
			if err := withFile(path, func(f *os.File) error { return appendTo(f, []byte(events)) }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := len(read(t, path)); got != 20*50 {
		t.Errorf("%d events", got)
	}
}

func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	second := make(chan error, 1)
	err := withFile(path, func(*os.File) error {
		go func() { second <- withFile(path, func(*os.File) error { return nil }) }()
		select {
		case <-second:
			return errors.New("two have the file at once")
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// off is what a command calls when it is not traced.
func off() {
	Phase("one")
	Begin("hook", "two", "/path").End(nil)
	Subject("x")
	Fail(nil)
	if On() {
		panic("on")
	}
}

func TestOffTakesNoMemory(t *testing.T) {
	if n := testing.AllocsPerRun(100, off); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkOff(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		off()
	}
}
