package nsenter

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/trace"
)

// traced runs a program with its steps timed, says Go to every Sync, and returns what there is to tell of it.
func traced(t *testing.T, received []*os.File, steps func(*Builder)) (*Child, []trace.Track) {
	t.Helper()
	if err := trace.Open(filepath.Join(t.TempDir(), "trace"), "test", "", nil); err != nil {
		t.Fatal(err)
	}
	c := start(t, Config{})
	err := c.Send(built(t, len(received), steps), received)
	if err := trace.Close(); err != nil { // the walker goes on to note its times
		t.Fatal(err)
	}
	for err == nil {
		var e Event
		if e, err = c.Next(); e.End {
			break
		}
		if e.Sync != 0 {
			c.Go(e.Sync)
		}
	}
	c.Close()
	return c, c.times.tracks()
}

func (b *Builder) sleep(d time.Duration) {
	b.Append(unix.SYS_NANOSLEEP, b.Words("duration", Num(0), Num(d.Nanoseconds())), Null())
}

// names are those of a track's events of a kind. Neighbours have no gap between them.
func names(t *testing.T, track trace.Track, kind string) (out []string) {
	t.Helper()
	var before *trace.Event
	for i, e := range track.Events {
		if e.Kind != kind || e.Name == "receive" {
			continue
		}
		if before != nil && before.End != e.Begin {
			t.Errorf("%s begins %d ns behind the end of %s", e.Name, e.Begin-before.End, before.Name)
		}
		before, out = &track.Events[i], append(out, e.Name)
	}
	return out
}

func TestStepsAreTimed(t *testing.T) {
	sleeping := Call(unix.SYS_NANOSLEEP).String()
	before := time.Now().UnixNano()
	c, tracks := traced(t, nil, func(b *Builder) {
		b.For(Origin{Op: "mount", Path: "/proc", Phase: "mounts"})
		b.sleep(20 * time.Millisecond)
		b.Append(unix.SYS_GETPID)
		b.For(Origin{Op: "leave", Phase: "namespaces"})
		b.Fork()
		b.Sync(SyncHooks)
		b.For(Origin{Op: "read", Phase: "process"})
		end := b.Label()
		b.Append(unix.SYS_READ, Num(-1), Null(), Num(0)).Accepts(unix.EBADF).Else(end)
		b.Append(unix.SYS_GETPPID)
		b.Place(end)
		b.Exit(0)
	})
	after := time.Now().UnixNano()
	if len(tracks) != 2 || tracks[0].PID != c.PID || tracks[1].PID != c.init || c.init == c.PID {
		t.Fatalf("got %+v", tracks)
	}
	for i, want := range []map[string][]string{
		{kindWalk: {"mounts", "namespaces"}, kindOperation: {"mount /proc", "leave"}, kindStep: {sleeping, "getpid", "FORK"}},
		{kindWalk: {"wait", "process"}, kindOperation: {"wait: hooks", "read"}, kindStep: {"SYNC", "read", "exit_group"}},
	} {
		for kind, list := range want {
			if got := names(t, tracks[i], kind); !slices.Equal(got, list) {
				t.Errorf("%s of %s: got %q, want %q", kind, tracks[i].Name, got, list)
			}
		}
		for _, e := range tracks[i].Events {
			if e.Begin < before || e.End > after || e.End < e.Begin {
				t.Errorf("%s is from %d to %d, and the test from %d to %d", e.Name, e.Begin, e.End, before, after)
			}
			if e.Name == sleeping && e.End-e.Begin < int64(20*time.Millisecond) {
				t.Errorf("%s took %d ns", e.Name, e.End-e.Begin)
			}
		}
	}
}

// A step that fails is marked, as what it is a part of is.
func TestFailedStepIsMarked(t *testing.T) {
	_, tracks := traced(t, nil, func(b *Builder) {
		b.Append(unix.SYS_GETPID)
		b.For(Origin{Op: "read", Path: "/file", Phase: "mounts"})
		b.Append(unix.SYS_READ, Num(-1), Null(), Num(0))
		b.Exit(0)
	})
	var marked []string
	for _, e := range tracks[0].Events {
		if slices.ContainsFunc(e.Args, func(a trace.Arg) bool { return a == trace.Arg{Key: "error", Value: "read /file: bad file descriptor"} }) {
			marked = append(marked, e.Kind+" "+e.Name)
		}
	}
	if want := []string{"walk mounts", "operation read /file", "step read"}; !slices.Equal(marked, want) {
		t.Errorf("got %q, want %q", marked, want)
	}
}

// A filter may forbid to ask for the time, so nobody asks any more.
func TestNoTimesUnderAFilter(t *testing.T) {
	allow := []byte{unix.BPF_RET | unix.BPF_K, 0, 0, 0, 0, 0, 0xff, 0x7f} // SECCOMP_RET_ALLOW
	_, tracks := traced(t, nil, func(b *Builder) {
		b.Append(unix.SYS_PRCTL, Num(unix.PR_SET_NO_NEW_PRIVS), Num(1), Num(0), Num(0), Num(0))
		b.Seccomp(allow, 0)
		b.sleep(10 * time.Millisecond)
		b.Exit(0)
	})
	if got := names(t, tracks[0], kindStep); !slices.Equal(got, []string{"prctl", "seccomp"}) {
		t.Errorf("got %q", got)
	}
	last := tracks[0].Events[slices.IndexFunc(tracks[0].Events, func(e trace.Event) bool { return e.Name == "seccomp, and what follows" })]
	if last.End-last.Begin < int64(10*time.Millisecond) {
		t.Errorf("what follows takes %d ns", last.End-last.Begin)
	}
}

// The memory comes before the descriptors of the program, in whatever many messages.
func TestTimesAndDescriptors(t *testing.T) {
	var files []*os.File
	for range 600 {
		files = append(files, open(t, "/dev/null", unix.O_PATH))
	}
	for _, count := range []int{0, 1, 247, 248, 249, 250, 498, 499, 600} {
		_, tracks := traced(t, files[:count], func(b *Builder) {
			for i := range count {
				b.Check(Reg(i+1), Identity{Type: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)})
			}
			b.Exit(0)
		})
		if got := names(t, tracks[0], kindStep); len(got) != count+1 || got[count] != "exit_group" {
			t.Errorf("%d descriptors: %q", count, got)
		}
	}
}

func TestUntracedIsNotTimed(t *testing.T) {
	c := start(t, Config{})
	if err := c.Send(built(t, 0, func(b *Builder) { b.Exit(0) }), nil); err != nil || c.times != nil {
		t.Errorf("%v, %v", err, c.times)
	}
	if e, err := c.Next(); !e.End || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if Begun() != nil {
		t.Error("this command line has no --trace")
	}
}
