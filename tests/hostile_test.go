package tests

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostilePeak is how much memory a command may take for a config.json of 64
// MiB: twelve times its size, most of it for a hundred thousand mounts.
const hostilePeak = 768 << 20

// hostileSize is a little less than config.json may have.
const hostileSize = 64<<20 - 4096

// repeated is a document: before, n items, after. It is made when it is
// written, because the memory of this process counts for its children's.
type repeated struct {
	before, item, after string
	n                   int // 0: as many as there is room for
}

func (r repeated) write(path string) error {
	n := r.n
	if n == 0 {
		n = (hostileSize - len(r.before) - len(r.after)) / len(r.item)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	w.WriteString(r.before)
	for range n {
		w.WriteString(r.item)
	}
	w.WriteString(r.after)
	return errors.Join(w.Flush(), f.Close())
}

// good is what every hostile document begins with, so that only what follows is
// wrong with it.
const good = `{"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["/bin/true"], "user": {}}, "linux": {"namespaces": [{"type": "mount"}]}`

// TestHostileConfigs gives the binary documents as large as it reads. What it
// cannot use it refuses, in a few lines, within bounded memory, and it leaves
// nothing behind.
func TestHostileConfigs(t *testing.T) {
	if testing.Short() {
		t.Skip("[long] takes a minute")
	}
	args := strings.Index(good, `"/bin/true"`)
	head, tail := good[:args], good[args+len(`"/bin/true"`):]
	caps := strings.Replace(head, `"args": [`, `"capabilities": {"bounding": [`, 1)
	const million = 1000000
	for name, c := range map[string]struct {
		doc  repeated
		want string // of each document; "" is a good one
	}{
		"mounts":            {repeated{good + `, "mounts": [{}`, `,{}`, `]}`, 0}, "the document holds more than 1048576 values"},
		"100000 mounts":     {repeated{good + `, "mounts": [{}`, `,{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}`, "]}", 99999}, "must have fewer than 100000 entries, not 100000 (config.json /mounts)"},
		"99999 bad mounts":  {repeated{good + `, "mounts": [{}`, `,{}`, "]}", 99998}, "/mounts/0/destination"},
		"99999 good mounts": {repeated{good + `, "mounts": [{"destination": "/m", "type": "tmpfs"}`, `,{"destination": "/m", "source": "/m", "type": "bind", "options": ["bind"]}`, "]}", 99998}, "descriptors at once"},
		"a million options": {repeated{good + `, "mounts": [{"destination": "/a", "type": "tmpfs", "options": [`, `"",`, `"\u0000"]}]}`, million}, "holds a NUL byte"},
		"a million args":    {repeated{head, `"x",`, `"\u0000"` + tail + "}", million}, "/process/args/1000000"},
		"bad environment":   {repeated{strings.Replace(head, `"args"`, `"env": [`, 1)[:strings.Index(head, `"args"`)+8], `"x",`, `"x"], "args": ["x"` + tail + "}", million}, "must be NAME=VALUE"},
		"unknown names":     {repeated{caps, `"x",`, `"x"]}, "args": ["x"` + tail + "}", million}, ""},
		"one long argument": {repeated{head + `"`, "x", `\u0000"` + tail + "}", 0}, "holds a NUL byte"},
		"one long name":     {repeated{good + `, "hostname": "`, "x", `"}`, 0}, "/hostname"},
		"one long value":    {repeated{good + `, "linux": {"rootfsPropagation": "`, "\\n", `"}}`, 0}, "unknown propagation"},
		"one long number":   {repeated{good + `, "process": {"oomScoreAdj": `, "9", `}}`, 0}, "must be between"},
		"one long key":      {repeated{good + `, "annotations": {"`, "k", `": 5}}`, 0}, "a key has more than 4096 bytes"},
		"long keys":         {repeated{good + `, "annotations": {"": 1`, `,"` + strings.Repeat("k", 4096) + `": 5`, `}}`, 0}, "must be a string, not a number"},
		"unknown keys":      {repeated{good, `,"k":[]`, `}`, 0}, "the document holds more than 1048576 values"},
		"nested arrays":     {repeated{good + `, "x": `, "[", "", 100000}, "the document is nested too deeply"},
		"nested objects":    {repeated{good + `, "x": `, `{"x":`, "", 100000}, "the document is nested too deeply"},
		"deep and wide":     {repeated{good + `, "x": ` + strings.Repeat("[", 900), "0,", "0", 0}, "the document holds more than 1048576 values"},
		"wrong types":       {repeated{good + `, "mounts": [5`, ",5", `]}`, 0}, "must be an object, not a number"},
		"broken UTF-8":      {repeated{good + `, "hostname": "`, "\xff", `"}`, 0}, "bytes that are not UTF-8"},
		"no strings":        {repeated{"", "\x00", "", 0}, "line 1, column 1: found"},
		"only space":        {repeated{"", " \n", "", 0}, "the document ends where a value should follow"},
		"only quotes":       {repeated{"", `"`, "", 0}, "the document ends here, but more follows"},
		"trailing data":     {repeated{good + "}", " {}", "", 0}, "the document ends here, but more follows"},
		"escapes":           {repeated{good + `, "hostname": "`, `\ud83d\ude00`, `"}`, 0}, "/hostname"},
		"a long note":       {repeated{good + `, "annotations": {"a": "`, "x", `"}}`, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.doc.write(filepath.Join(dir, "config.json")); err != nil {
				t.Fatal(err)
			}
			// Who may not make containers is refused by create for that.
			command := []string{"create", "--bundle", dir, "hostile"}
			if c.want == "" || os.Geteuid() != 0 {
				command = []string{"plan", "--steps", "--bundle", dir}
			}
			hostileRun(t, dir, command, 1, c.want)
			if left, _ := os.ReadDir(filepath.Join(dir, "state")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestHostileProcesses is TestHostileConfigs for exec --process.
func TestHostileProcesses(t *testing.T) {
	if !rootTests() {
		t.Skip("[root] needs root")
	}
	dir := publicDir(t)
	busybox, err := copyBusybox(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := makeRootfs(filepath.Join(dir, "rootfs"), busybox); err != nil {
		t.Fatal(err)
	}
	spec := strings.Replace(good, `"/bin/true"`, `"/bin/sleep", "1000"`, 1) + "}"
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	id := containerID(filepath.Join(dir, "hostile-process"))
	do := func(args ...string) {
		t.Helper()
		// The container keeps what create gets as its output.
		if err := exec.Command(berth(t), append([]string{"--root", filepath.Join(dir, "state")}, args...)...).Run(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do("create", "--bundle", dir, id)
	defer do("delete", "--force", id)
	do("start", id)
	const head = `{"cwd": "/", "user": {}, "args": [`
	for name, c := range map[string]struct {
		doc  repeated
		want string
	}{
		"values":            {repeated{head + `""`, `,""`, "]}", 0}, "the document holds more than 1048576 values"},
		"a million args":    {repeated{head, `"x",`, `"\u0000"]}`, 1000000}, "/args/1000000"},
		"one long argument": {repeated{head + `"/`, "x", `"]}`, 0}, "must have at most 131071 bytes, not 6"},
		"bad environment":   {repeated{head + `"x"], "env": ["x"`, `,"x"`, "]}", 1000000}, "must be NAME=VALUE"},
		"nested":            {repeated{head, "[", "", 100000}, "must be a string, not an array"},
		"broken UTF-8":      {repeated{head + `"`, "\xff", `"]}`, 0}, "bytes that are not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "process.json")
			if err := c.doc.write(path); err != nil {
				t.Fatal(err)
			}
			hostileRun(t, dir, []string{"exec", "--process", path, id}, 255, c.want)
		})
	}
}

// hostileRun runs a command that must end with status and say want; "" is a
// success.
func hostileRun(t *testing.T, dir string, command []string, status int, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := filepath.Join(dir, "log")
	cmd := exec.CommandContext(ctx, berth(t), append([]string{"--root", filepath.Join(dir, "state"), "--log", log, "--log-format", "json"}, command...)...)
	var out bytes.Buffer
	cmd.Stderr = &out
	start := time.Now()
	err := cmd.Run()
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%s: %.1f s, %d MiB", command[0], time.Since(start).Seconds(), peak>>20)
	if peak > hostilePeak {
		t.Errorf("%s takes %d MiB", command[0], peak>>20)
	}
	text := out.String()
	if n := strings.Count(text, "\n"); n > 110 || len(text) > 2<<20 {
		t.Errorf("%s: %d lines, %d bytes", command[0], n, len(text))
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "berth: ") && !strings.HasPrefix(line, "note: ") {
			t.Errorf("%s: a line of somebody else's: %.200q", command[0], line)
			break
		}
	}
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v: %.500s", command[0], err, text)
		}
		return
	}
	if cmd.ProcessState.ExitCode() != status || !strings.Contains(text, want) {
		t.Errorf("%s: %v: %.500s", command[0], err, text)
	}
	if info, err := os.Stat(log); err != nil || info.Size() > 4<<20 {
		t.Errorf("%s: log %v, %v", command[0], info, err)
	}
	os.Remove(log)
}
