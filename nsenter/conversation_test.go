package nsenter

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// whole is a program with every point of the conversation.
func whole(b *Builder) {
	b.Sync(SyncMaps)
	b.Sync(SyncOffsets)
	b.Fork()
	b.Sync(SyncGroup)
	zero := b.OpenHost("/dev/zero", unix.O_RDONLY)
	b.SendFD(SyncConsole, zero)
	b.Close(zero)
	b.Sync(SyncHooks)
	b.Sync(SyncLimits)
	b.Sync(SyncReady)
	b.Exit(0)
}

// wholeEvents is what Next tells about it, by name.
var wholeEvents = []string{"maps", "offsets", "pid", "group", "fd console", "hooks", "limits", "ready", "end"}

func eventName(t *testing.T, e Event) string {
	switch {
	case e.End:
		return "end"
	case e.PID != 0:
		return "pid"
	case e.FD != nil:
		t.Cleanup(func() { e.FD.Close() })
		return "fd " + e.Sync.String()
	}
	return e.Sync.String()
}

// talk answers events until n were seen, and returns their names and init's
// pid (the preamble's, until it is known).
func talk(t *testing.T, c *Child, n int) (names []string, pid int) {
	t.Helper()
	pid = c.PID
	for len(names) < n {
		e, err := c.Next()
		if err != nil {
			t.Fatalf("after %v: %v", names, err)
		}
		names = append(names, eventName(t, e))
		if e.PID != 0 {
			pid = e.PID
		}
		if e.End {
			break
		}
		// The last one stays unanswered.
		if e.Sync != 0 && e.FD == nil && len(names) < n {
			if err := c.Go(e.Sync); err != nil {
				t.Fatal(err)
			}
		}
	}
	return names, pid
}

// TestConversation repeats, because init and the preamble it was forked from
// race: the pid has to come before what init says.
func TestConversation(t *testing.T) {
	for range 20 {
		c := start(t, Config{})
		if err := c.Send(built(t, 0, whole), nil); err != nil {
			t.Fatal(err)
		}
		names, pid := talk(t, c, 100)
		if !slices.Equal(names, wholeEvents) {
			t.Fatalf("events %v", names)
		}
		if pid == c.PID {
			t.Error("init is the preamble")
		}
		gone(t, pid)
		if status, err := c.Wait(); err != nil || status != 0 {
			t.Errorf("preamble: status %#x, %v", status, err)
		}
	}
}

// TestPIDBeforeInitFails: init may fail before the preamble has told its pid.
func TestPIDBeforeInitFails(t *testing.T) {
	for range 20 {
		c := start(t, Config{})
		p := built(t, 0, func(b *Builder) {
			b.Fork()
			b.OpenHost("/does/not/exist", unix.O_PATH)
			b.Exit(0)
		})
		if err := c.Send(p, nil); err != nil {
			t.Fatal(err)
		}
		e, err := c.Next()
		if err != nil || e.PID == 0 || e.PID == c.PID {
			t.Fatalf("%+v, %v", e, err)
		}
		_, err = c.Next()
		wantErrno(t, err, unix.ENOENT)
		if e, err := c.Next(); err != nil || !e.End {
			t.Errorf("after the last word: %+v, %v", e, err)
		}
		gone(t, e.PID)
	}
}

func TestPIDInNewNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root for a pid namespace")
	}
	c := start(t, Config{})
	p := built(t, 0, func(b *Builder) {
		b.Unshare(unix.CLONE_NEWPID)
		b.Fork()
		b.Sync(SyncLimits)
		b.Append(unix.SYS_GETPID).Result = 1
		b.SendFD(SyncConsole, 1) // descriptor 1: init's pid in its namespace
		b.Exit(0)
	})
	if err := c.Send(p, nil); err != nil {
		t.Fatal(err)
	}
	names, pid := talk(t, c, 2)
	if !slices.Equal(names, []string{"pid", "limits"}) {
		t.Fatalf("events %v", names)
	}
	if err := unix.Kill(pid, 0); err != nil || pid == 1 {
		t.Errorf("pid %d: %v", pid, err)
	}
	if err := c.Go(SyncLimits); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Next(); err != nil || e.FD == nil {
		t.Errorf("%+v, %v", e, err)
	} else {
		e.FD.Close()
	}
	gone(t, pid)
}

// TestRuntimeGoesAway closes the socket at every point: nobody is left.
func TestRuntimeGoesAway(t *testing.T) {
	for n := range len(wholeEvents) {
		c := start(t, Config{})
		if n > 0 {
			if err := c.Send(built(t, 0, whole), nil); err != nil {
				t.Fatal(err)
			}
		}
		names, pid := talk(t, c, n)
		c.Close()
		c.Wait()
		gone(t, pid)
		if pid == c.PID && n > 2 {
			t.Errorf("after %v: no pid", names)
		}
	}
}

// TestInitIsKilled kills the process at every point: Next tells the end.
func TestInitIsKilled(t *testing.T) {
	for n := range len(wholeEvents) {
		c := start(t, Config{})
		if n > 0 {
			if err := c.Send(built(t, 0, whole), nil); err != nil {
				t.Fatal(err)
			}
		}
		names, pid := talk(t, c, n)
		unix.Kill(pid, unix.SIGKILL)
		if n == 0 {
			c.Wait()
			if err := c.Send(built(t, 0, whole), nil); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("Send to nobody: %v", err)
			}
		}
		for {
			e, err := c.Next()
			if err != nil {
				t.Errorf("killed after %v: %v", names, err)
				break
			}
			if e.End {
				break
			}
			eventName(t, e)
		}
		gone(t, pid)
	}
}

func TestSyncOutOfOrder(t *testing.T) {
	c := start(t, Config{})
	if err := c.Send(built(t, 0, whole), nil); err != nil {
		t.Fatal(err)
	}
	c.expect = []SyncID{SyncReady}
	if e, err := c.Next(); err == nil {
		t.Errorf("%+v", e)
	}
}

func TestWrongGo(t *testing.T) {
	c := start(t, Config{})
	if err := c.Send(built(t, 0, whole), nil); err != nil {
		t.Fatal(err)
	}
	talk(t, c, 1)
	if err := c.Go(SyncReady); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Next(); err != nil || !e.End {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestWrongNumberOfDescriptors(t *testing.T) {
	c := start(t, Config{})
	if err := c.Send(built(t, 1, whole), nil); err == nil {
		t.Error("a program without its descriptors is sent")
	}
}

// TestTooFewDescriptors: a walker that may not have as many says so.
func TestTooFewDescriptors(t *testing.T) {
	c := start(t, Config{})
	limit := unix.Rlimit{Cur: 20, Max: 20}
	if err := unix.Prlimit(c.PID, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	files := make([]*os.File, 100)
	for i := range files {
		files[i] = os.Stdin
	}
	if err := c.Send(built(t, len(files), func(b *Builder) { b.Exit(0) }), files); err != nil {
		t.Fatal(err)
	}
	_, err := c.Next()
	const want = "walk: the program was refused: too many open files; the limit on open descriptors (ulimit -n) is too low for what the container is given"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestRefused sends what is no program.
func TestRefused(t *testing.T) {
	good := built(t, 0, func(b *Builder) {
		b.MakeDir(b.OpenHost("/", unix.O_PATH), "/", 0o755)
		b.FindExec([]string{"/x"})
		b.Append(Store, b.Bytes(make([]byte, 4), "x"), Num(1))
		b.ExecvePath("/x", []string{"a"}, []string{"b"})
		b.Bytes(make([]byte, 7), "up to the final zero byte")
	})
	step := func(i, field int) int { return headerSize + i*stepSize + field }
	tests := []struct {
		name   string
		damage func(raw []byte) []byte
	}{
		{"empty", func(raw []byte) []byte { return nil }},
		{"part of a header", func(raw []byte) []byte { return raw[:headerSize-1] }},
		{"header only", func(raw []byte) []byte { return raw[:headerSize] }},
		{"truncated", func(raw []byte) []byte { return raw[:len(raw)-1] }},
		{"too long", func(raw []byte) []byte { return append(raw, 0) }},
		{"magic", set32(0, 1)},
		{"steps", set32(4, 1<<31)},
		{"steps that wrap", set32(4, 0xffffffff)},
		{"relocations", set32(8, 0xffffffff)},
		{"data", set32(12, 0)},
		{"descriptors", set32(16, registers)},
		{"no final zero byte", func(raw []byte) []byte { raw[len(raw)-1] = 1; return raw }},
		{"call", set32(step(0, 0), uint32(LikeMode)+1)},
		{"x32 call", set32(step(0, 0), 0x40000001)},
		{"result", set32(step(0, 4), registers)},
		{"kind", func(raw []byte) []byte { raw[step(0, 18)] = 3; return raw }},
		{"offset", set32(step(0, 24+8), 1<<30)},
		{"offset above 32 bits", set32(step(0, 24+8+4), 1)},
		{"register", func(raw []byte) []byte {
			raw[step(0, 20)] = byte(inRegister)
			return set32(step(0, 24+16), registers)(raw)
		}},
		{"path of Make is a number", func(raw []byte) []byte { raw[step(1, 19)] = byte(number); return raw }},
		{"candidates of Find are a number", func(raw []byte) []byte { raw[step(2, 18)] = byte(number); return raw }},
		{"place of Store is a number", func(raw []byte) []byte { raw[step(3, 18)] = byte(number); return raw }},
		{"place of Store at the end", set32(step(3, 24), uint32(len(good.data)-4))},
		{"relocation at an odd place", set32(step(5, 0), 1)},
		{"relocation over the final zero byte", set32(step(5, 0), uint32(len(good.data)-8))},
		{"relocation outside", set32(step(5, 0), 1<<31)},
		{"relocation to outside", set32(step(5, 4), uint32(len(good.data)))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := good.Encode()
			if err != nil {
				t.Fatal(err)
			}
			wantErrno(t, sendRaw(t, test.damage(raw), messageProgram, nil), unix.EBADMSG)
		})
	}
	raw, _ := good.Encode()
	if err := sendRaw(t, raw, messageProgram, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("undamaged: %v", err)
	}
	wantErrno(t, sendRaw(t, raw, messageFDs, nil), unix.EBADMSG)
	set32(16, 2)(raw)
	wantErrno(t, sendRaw(t, raw, messageProgram, []uint32{messageGo}), unix.EBADMSG)
	wantErrno(t, sendRaw(t, raw, messageProgram, []uint32{messageFDs}), unix.EBADMSG) // without descriptors
}

func set32(at int, v uint32) func([]byte) []byte {
	return func(raw []byte) []byte {
		for i := range 4 {
			raw[at+i] = byte(v >> (8 * i)) // both architectures are little-endian
		}
		return raw
	}
}

// sendRaw hands over raw as a program, then messages of more kinds, and returns
// the error that comes back.
func sendRaw(t *testing.T, raw []byte, kind uint32, more []uint32) error {
	t.Helper()
	memfd, err := sealed("test", raw)
	if err != nil {
		t.Fatal(err)
	}
	defer memfd.Close()
	c := start(t, Config{})
	c.program = &Program{}
	if err := c.send(message{kind: kind}, []int{int(memfd.Fd())}); err != nil {
		t.Fatal(err)
	}
	for _, k := range more {
		if err := c.send(message{kind: k}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for {
		e, err := c.Next()
		if err != nil || e.End {
			return err
		}
	}
}

func TestStrangeFirstMessages(t *testing.T) {
	for _, raw := range [][]byte{{}, {1}, make([]byte, messageSize-1), make([]byte, messageSize+1)} {
		c := start(t, Config{})
		if err := unix.Sendmsg(c.sock, raw, nil, nil, 0); err != nil {
			t.Fatal(err)
		}
		if e, err := c.Next(); err != nil || !e.End {
			t.Errorf("%d bytes: %+v, %v", len(raw), e, err)
		}
		c.Wait()
	}
}
