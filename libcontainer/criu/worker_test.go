package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// As "criu" this test binary is a CRIU that does what $FAKE says.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "criu" {
		fakeCRIU(os.Getenv("FAKE"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeCRIU reads a request and plays a script: "!" is the end without a word,
// "?" something else than an answer, "ok" and "no" the last answer, and what
// else there is a notice, which "fd:" in front sends a descriptor with. Each
// notice and what was answered is appended to the log in the directory of images.
func fakeCRIU(script string) {
	const sock = FirstFile - 1
	request := make([]byte, maxAnswer)
	n, err := unix.Read(sock, request)
	if err != nil || n == 0 {
		os.Exit(1)
	}
	opts := fields(request[:n])
	dir := fmt.Sprintf("/proc/%d/fd/%d", os.Getppid(), fields(opts[2].bytes)[1].number)
	log, _ := os.OpenFile(dir+"/dump.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	kind := int(opts[1].number)
	for _, word := range strings.Fields(script) {
		var m message
		switch word {
		case "!":
			return
		case "?":
			unix.Write(sock, []byte{0xff})
		case "ok":
			m.number(reqType, kind)
			m.number(field{respSuccess, ""}, 1)
			m.group(field{respRestore, ""}, func(m *message) { m.number(field{1, ""}, 77) })
			unix.Write(sock, m.raw)
		case "no":
			m.number(reqType, kind)
			m.number(field{respSuccess, ""}, 0)
			fmt.Fprintln(log, "(00.1) Error (criu/x.c:1): because")
			unix.Write(sock, m.raw)
		default:
			name, withFD := strings.CutPrefix(word, "fd:")
			m.number(reqType, typeNotify)
			m.number(field{respSuccess, ""}, 1)
			m.group(field{respNotify, ""}, func(m *message) { m.text(field{1, ""}, name); m.number(field{2, ""}, 5) })
			var rights []byte
			if withFD {
				rights = unix.UnixRights(0)
			}
			unix.Sendmsg(sock, m.raw, rights, nil, 0)
			n, _ := unix.Read(sock, request)
			fmt.Fprintln(log, name, fields(request[:n])[3].number)
		}
	}
	unix.Read(sock, request) // the end of the conversation
}

type value struct {
	number uint64
	bytes  []byte
}

func fields(raw []byte) map[int]value {
	out := map[int]value{}
	r := reader{raw: raw}
	for number, n, b, more := r.next(); more; number, n, b, more = r.next() {
		out[number] = value{n, b}
	}
	return out
}

// useFake makes the fake the CRIU that Start finds, and returns its directory.
func useFake(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, bin+"/criu")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	return bin
}

// play has a conversation with the fake, and returns the notices and its log.
func play(t *testing.T, script string, notify func(Notice) error) (pid int, log string, err error) {
	t.Helper()
	images := t.TempDir()
	useFake(t)
	t.Setenv("FAKE", script)
	w, err := Start(Config{Stdio: [3]int{0, 1, 2}, Images: images})
	if err != nil {
		t.Fatal(err)
	}
	d := Dump{Options: Options{Images: images}}
	pid, err = w.Do(d.Request, notify)
	if e := unix.Kill(w.PID, 0); e != unix.ESRCH {
		t.Errorf("CRIU is still there: %v", e)
	}
	raw, _ := os.ReadFile(images + "/dump.log")
	return pid, string(raw), d.Explain(err, "checkpoint", "c", DumpLog)
}

func TestConversation(t *testing.T) {
	var seen []string
	pid, log, err := play(t, "pre-dump fd:orphan-pts-master post-dump ok", func(n Notice) error {
		seen = append(seen, fmt.Sprint(n.Script, " ", n.PID, " ", n.FD != nil))
		if n.FD != nil {
			return n.FD.Close()
		}
		return nil
	})
	if pid != 77 || err != nil {
		t.Error(pid, err)
	}
	if want := []string{"pre-dump 5 false", "orphan-pts-master 5 true", "post-dump 5 false"}; !slices.Equal(seen, want) {
		t.Error(seen)
	}
	if log != "pre-dump 1\norphan-pts-master 1\npost-dump 1\n" {
		t.Error(log)
	}
}

// An objection is told to CRIU, which takes back what it did, and is the error.
func TestObjection(t *testing.T) {
	objection := errors.New("a hook failed")
	_, log, err := play(t, "setup-namespaces post-restore no", func(Notice) error { return objection })
	if err != objection {
		t.Error(err)
	}
	if !strings.HasPrefix(log, "setup-namespaces 0\npost-restore 0\n") {
		t.Error(log)
	}
}

func TestFailures(t *testing.T) {
	for script, want := range map[string]string{
		"no": "checkpoint c: criu: Error (criu/x.c:1): because; the whole log is ",
		"!":  "checkpoint c: criu: it died",
		"?":  "checkpoint c: criu: it sent something else than an answer",
	} {
		_, _, err := play(t, script, func(Notice) error { return nil })
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestNoCRIU(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/criu", nil, 0o644) // not executable
	os.Mkdir(dir+"/sub", 0o755)
	os.Mkdir(dir+"/sub/criu", 0o755)
	t.Chdir(dir + "/sub")
	t.Setenv("PATH", dir+":"+dir+"/sub::.")
	if _, err := Start(Config{Images: dir}); err == nil || !strings.Contains(err.Error(), "executable file not found in $PATH") {
		t.Error(err)
	}
}

// What fails once CRIU has died fails because of that.
func TestBecause(t *testing.T) {
	bin := useFake(t)
	w, err := Start(Config{Images: bin, Work: bin})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	lost := errors.New("no such group")
	if err := w.Because(lost); err != lost {
		t.Error(err)
	}
	unix.Kill(w.PID, unix.SIGKILL)
	var info unix.Siginfo
	unix.Waitid(unix.P_PID, w.PID, &info, unix.WEXITED|unix.WNOWAIT, nil)
	if err := w.Because(lost); err.Error() != "it died" {
		t.Error(err)
	}
}

// A worker without a request just goes.
func TestClose(t *testing.T) {
	bin := useFake(t)
	w, err := Start(Config{Images: bin, Work: bin})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := unix.Kill(w.PID, 0); err != unix.ESRCH {
		t.Error(err)
	}
	w.Close()
	if _, err := Start(Config{Images: bin, Work: bin + "/missing"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
