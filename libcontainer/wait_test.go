package libcontainer

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
)

func TestExit(t *testing.T) {
	for _, x := range []struct {
		status supervise.ExitStatus
		oom    *OOM
		json   string
		text   string
		code   int
	}{
		{0, nil, `{"id":"c","status":"exited","exitCode":0}`, "exit status 0", 0},
		{3 << 8, nil, `{"id":"c","status":"exited","exitCode":3}`, "exit status 3", 3},
		{255 << 8, nil, `{"id":"c","status":"exited","exitCode":255}`, "exit status 255", 255},
		{9, &OOM{1, "/g"}, `{"id":"c","status":"killed","signal":"SIGKILL","oom":{"kills":1,"group":"/g"}}`, "killed by SIGKILL (out of memory: /g)", 137},
		{9, &OOM{Kills: 2}, `{"id":"c","status":"killed","signal":"SIGKILL","oom":{"kills":2}}`, "killed by SIGKILL (out of memory: the machine)", 137},
		{40, nil, `{"id":"c","status":"killed","signal":"40"}`, "killed by signal 40", 168},
	} {
		e := Exit{ID: "c", OOM: x.oom}
		e.set(x.status)
		raw, err := json.Marshal(e)
		if err != nil || string(raw) != x.json {
			t.Errorf("got %s, %v", raw, err)
		}
		var again Exit
		if err := json.Unmarshal(raw, &again); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%s: read %+v, %v", raw, again, err)
		}
		if code, known := again.Code(); code != x.code || !known || again.String() != x.text {
			t.Errorf("%s: %d, %v, %s", raw, code, known, again)
		}
	}
	for _, raw := range []string{`{"id":"c","status":"unknown"}`, `{"id":"c","status":"exited"}`, `{}`} {
		var e Exit
		if err := json.Unmarshal([]byte(raw), &e); err != nil || e.Status != exitUnknown || e.String() != "unknown" {
			t.Errorf("%s: %+v, %v", raw, e, err)
		}
		if _, known := e.Code(); known {
			t.Errorf("%s is known", raw)
		}
	}
}

// TestWait: a process that has ended is asked about before and after it is reaped.
func TestWait(t *testing.T) {
	facts := host.ProbeProcess()
	cmd := exec.Command("/bin/sh", "-c", "read x; exit 5")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := stateDir(t)
	c.record = record{ID: "c", PID: cmd.Process.Pid}
	if c.record.StartTime, _, err = startTime(c.record.PID); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	if _, known := reapedStatus(pidfd); known {
		t.Error("known before the end")
	}
	stdin.Close()
	awaitEnd(pidfd, -1)
	if status, ok := c.zombieStatus(); facts.Has(unix.CAP_SYS_PTRACE) && (!ok || status.Code() != 5) {
		t.Errorf("not reaped: %s, %v", status, ok)
	}
	cmd.Wait()
	if _, ok := c.zombieStatus(); ok {
		t.Error("reaped and told by /proc")
	}
	awaitReaped(pidfd, time.Minute)
	status, known := reapedStatus(pidfd)
	if known != facts.Kernel.AtLeast(6, 15) || known && status.Code() != 5 {
		t.Errorf("reaped: %s, %v", status, known)
	}

	// Nobody knows, until somebody says it.
	if e, err := c.Wait(); err != nil || e.Status != exitUnknown {
		t.Errorf("got %+v, %v", e, err)
	}
	if err := c.NoteExit(5 << 8); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Wait(); err != nil || e.String() != "exit status 5" || e.Ended.IsZero() || e.WallTime <= 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	// Who knows less does not overwrite it.
	if e, err := c.note(Exit{ID: "c", Status: exitUnknown}, 0, false); err != nil || e.String() != "exit status 5" {
		t.Errorf("got %+v, %v", e, err)
	}
}
