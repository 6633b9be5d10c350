package nsenter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func compiler(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("[gcc] needs gcc")
	}
	return cc
}

func TestStaticAnalysis(t *testing.T) {
	out, err := exec.Command(compiler(t), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fanalyzer",
		"-c", "-o", filepath.Join(t.TempDir(), "nsenter.o"), "nsenter.c").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSanitizers walks random programs in a walker built with AddressSanitizer
// and UBSan. NSENTER_PROGRAMS says how many (20000), NSENTER_SEED where to start.
func TestSanitizers(t *testing.T) {
	cc := compiler(t)
	dir := t.TempDir()
	walker := filepath.Join(dir, "walker")
	out, err := exec.Command("make", "-f", "sanitize/sanitize.mk", "CC="+cc, "OUT="+walker).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := []string{env("NSENTER_SEED", "1"), env("NSENTER_PROGRAMS", "20000")}
	for i, p := range samples(t) {
		raw, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint("program", i))
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	run := exec.Command(walker, args...)
	run.Dir = filepath.Join(dir, "files")
	if err := os.Mkdir(run.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err = run.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Log(strings.TrimSpace(string(out)))
}

func env(name, unset string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return unset
}

// samples are the programs that the random ones start from.
func samples(t *testing.T) []*Program {
	cwd := CWD()
	makes := func(b *Builder) {
		for _, path := range []string{"/a/b/c", "link/x", "loop/x", "abs/../rel/x", "/", "file/x", strings.Repeat("/n", 40)} {
			b.Append(Make, cwd, b.Str(path), Octal(0o755), Const(unix.S_IFDIR, "dir"), Null()).Accepts(unix.ELOOP, unix.ENOTDIR, unix.ENOENT, unix.EEXIST).Result = 1
			b.Append(Make, cwd, b.Str(path+"f"), Octal(0o644), Const(unix.S_IFREG, "file"), Null()).Accepts(unix.ELOOP, unix.ENOTDIR, unix.ENOENT, unix.ENAMETOOLONG).Result = 2
		}
		b.Exit(0)
	}
	finds := func(b *Builder) {
		b.Append(unix.SYS_GETPID).Result = 3
		at := b.Bytes(make([]byte, 64), "x")
		for i := range 16 {
			b.Append(Store, at.At(4*i), FD(3))
		}
		b.Inside()
		b.Check(1, Identity{Type: unix.S_IFDIR}).Accepts(unix.EXDEV)
		b.Execve(b.FindExec([]string{"a", "file", "link", "/bin/sh", ""}), []string{"a", "b"}, []string{"c=d"})
	}
	return []*Program{
		built(t, 0, whole), built(t, 1, makes), built(t, 1, finds), built(t, 300, container),
	}
}
