package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Containers of many configurations, under strace: what init calls is what `berth plan --steps` prints, call by call,
// with the printed strings and flags and with each register's descriptor where the program has it.
func TestInitDoesWhatThePlanSays(t *testing.T) {
	if !rootTests() {
		t.Skip("[root] needs root")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("[strace] needs strace")
	}
	for _, c := range traced {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.view != "" && !hybrid() {
				t.Skip("[hybrid] the machine has one cgroup layout only")
			}
			c.hold(t)
		})
	}
}

// configuration is one container to trace.
type configuration struct {
	name  string
	view  string
	flags []string // of create and plan
	patch string   // merged into config.json; $PID is a sleeping container's, $WORK the directory
	edit  func(doc map[string]any)
}

var traced = []configuration{
	{name: "default"},
	{name: "v2", view: "v2"},
	{name: "cgroup namespace", view: "v1", edit: func(doc map[string]any) { addTo(doc, "/linux/namespaces", `{"type":"cgroup"}`) }},
	{name: "terminal", patch: `{"process":{"terminal":true,"consoleSize":{"height":20,"width":70}}}`},
	{name: "user namespace", patch: `{"linux":{"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],
		"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}`,
		edit: func(doc map[string]any) { addTo(doc, "/linux/namespaces", `{"type":"user"}`) }},
	{name: "joined namespaces", patch: `{"hostname":null,"linux":{"namespaces":[{"type":"mount"},{"type":"pid","path":"/proc/$PID/ns/pid"},
		{"type":"network","path":"/proc/$PID/ns/net"},{"type":"uts","path":"/proc/$PID/ns/uts"},{"type":"ipc"}]}}`},
	{name: "time namespace", patch: `{"linux":{"timeOffsets":{"boottime":{"secs":1000}}}}`,
		edit: func(doc map[string]any) { addTo(doc, "/linux/namespaces", `{"type":"time"}`) }},
	{name: "hooks", patch: `{"hooks":{"prestart":[{"path":"/bin/true"}],"createRuntime":[{"path":"/bin/true"}],
		"createContainer":[{"path":"/bin/true"}],"startContainer":[{"path":"/bin/true"}],"poststart":[{"path":"/bin/true"}]}}`},
	{name: "mounts", edit: func(doc map[string]any) {
		addTo(doc, "/mounts", `{"destination":"/etc","type":"tmpfs","source":"tmpfs","options":["tmpcopyup","size=1m","ro"]}`,
			`{"destination":"/new/dir","type":"bind","source":"/usr","options":["rbind","rro","rslave"]}`,
			`{"destination":"/new/file","type":"bind","source":"/etc/passwd","options":["bind","ro","noexec"]}`,
			`{"destination":"/root","type":"bind","source":"/tmp","options":["bind"],"uidMappings":[{"containerID":0,"hostID":1,"size":1}],
			  "gidMappings":[{"containerID":0,"hostID":1,"size":1}]}`)
	}},
	{name: "masked paths", patch: `{"linux":{"maskedPaths":["/etc","/etc/passwd","/no/such"],"readonlyPaths":["/bin","/no/such"],
		"rootfsPropagation":"shared"},"root":{"readonly":false}}`},
	{name: "devices", edit: func(doc map[string]any) {
		addTo(doc, "/linux/devices", `{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":432,"uid":5,"gid":6}`,
			`{"path":"/dev/below/pipe","type":"p"}`)
	}},
	{name: "no pivot", flags: []string{"--no-pivot"}},
	{name: "no mount namespace", patch: `{"root":{"readonly":false},"linux":{"maskedPaths":null,"readonlyPaths":null,
		"namespaces":[{"type":"pid"},{"type":"uts"},{"type":"ipc"},{"type":"network"}]}}`},
	{name: "host pid namespace", patch: `{"linux":{"namespaces":[{"type":"mount"},{"type":"uts"}]}}`},
	{name: "process", flags: []string{"--no-new-keyring"}, patch: `{"domainname":"example.org","process":{"cwd":"/made/for/it","noNewPrivileges":false,
		"user":{"uid":1000,"gid":1000,"additionalGids":[5,6],"umask":63},"oomScoreAdj":100,
		"rlimits":[{"type":"RLIMIT_CORE","soft":0,"hard":0}],"scheduler":{"policy":"SCHED_BATCH"},
		"capabilities":{"bounding":["CAP_KILL"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]}},
		"root":{"readonly":false},"linux":{"sysctl":{"net.ipv4.ip_forward":"1","kernel.shmmni":"100"}}}`},
	{name: "seccomp", patch: `{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}}}`},
}

// addTo appends to an array of a config.json.
func addTo(doc map[string]any, pointer string, elements ...string) {
	list, _ := lookup(doc, pointer)
	array, _ := list.([]any)
	for _, e := range elements {
		var v any
		if err := json.Unmarshal([]byte(e), &v); err != nil {
			panic(err)
		}
		array = append(array, v)
	}
	mergePatch(doc, patchAt(pointer, array))
}

// hold makes the container under strace and compares.
func (c configuration) hold(t *testing.T) {
	w := newWorkshop(t, c)
	if strings.Contains(c.patch, "$PID") {
		w.pid = w.sleeper(t)
	}
	w.bundle(t, c)
	steps, err := parseSteps(w.output(t, slices.Concat([]string{"plan", "--steps", "-b", "b"}, c.flags, []string{w.id})...))
	if err != nil {
		t.Fatal(err)
	}
	dir := w.trace(t, c.flags)
	calls, err := readTrace(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(steps, calls); err != nil {
		t.Error(err)
	}
}

// workshop is the directory that a container is traced in.
type workshop struct {
	dir, id, pid string
	busybox      string
	env          []string
	args         []string // of create, besides
}

func newWorkshop(t *testing.T, c configuration) *workshop {
	dir := publicDir(t)
	id := "strace." + strings.TrimPrefix(filepath.Base(dir), dirPrefix)
	busybox, err := copyBusybox(dir)
	if err != nil {
		t.Fatal(err)
	}
	runtime := berth(t)
	t.Cleanup(func() { cleanUp(runtime, dir, id) })
	return &workshop{dir: dir, id: id, busybox: busybox, env: append(os.Environ(), "RUNTIME="+runtime, "WORK="+dir, "VIEW="+c.view)}
}

func (w *workshop) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

func (w *workshop) output(t *testing.T, args ...string) string {
	cmd := w.command(append([]string{"rt"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, &stderr)
	}
	return string(out)
}

// sleeper is the pid of a container to join.
func (w *workshop) sleeper(t *testing.T) string {
	w.write(t, "sleeper", configuration{patch: `{"process":{"args":["sleep","100"]}}`})
	w.output(t, "run", "-d", "-b", "sleeper", "--pid-file", "pid", w.id+".sleeper")
	pid, err := os.ReadFile(filepath.Join(w.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	return string(pid)
}

func (w *workshop) bundle(t *testing.T, c configuration) {
	w.write(t, "b", c)
	if !strings.Contains(c.patch, `"terminal":true`) {
		return
	}
	w.args = []string{"--console-socket", "sock"}
	console := w.command("console", "sock")
	if err := console.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { console.Wait() })
	if !poll(func() bool { _, err := os.Stat(filepath.Join(w.dir, "sock")); return err == nil }) {
		t.Fatal("nobody listens for the console")
	}
}

func (w *workshop) write(t *testing.T, name string, c configuration) {
	dir := filepath.Join(w.dir, name)
	if err := makeRootfs(filepath.Join(dir, "rootfs"), w.busybox); err != nil {
		t.Fatal(err)
	}
	w.output(t, "spec", "-b", dir)
	path := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc, patch map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	// HOME is looked up where it is not given, and plan does not look.
	mergePatch(doc, map[string]any{"process": map[string]any{"terminal": false, "args": []any{"true"}}})
	addTo(doc, "/process/env", `"HOME=/root"`)
	if c.edit != nil {
		c.edit(doc)
	}
	text := strings.NewReplacer("$PID", w.pid, "$WORK", w.dir).Replace(c.patch)
	if text != "" {
		if err := json.Unmarshal([]byte(text), &patch); err != nil {
			t.Fatal(err)
		}
		mergePatch(doc, patch)
	}
	raw, err = json.Marshal(doc)
	if err == nil {
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// trace creates and starts the container; strace follows every process to its end. It returns the directory of its
// files, one for each thread.
func (w *workshop) trace(t *testing.T, flags []string) string {
	dir := filepath.Join(w.dir, "trace")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"strace", "-ff", "-v", "-s", "4096", "-o", dir + "/t", "rt", "create", "-b", "b"}
	strace := w.command(slices.Concat(args, w.args, flags, []string{w.id})...)
	var out strings.Builder
	strace.Stdout, strace.Stderr = &out, &out
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- strace.Wait() }()
	created := func() bool {
		var state struct{ Status string }
		raw, err := w.command("rt", "state", w.id).Output()
		return err == nil && json.Unmarshal(raw, &state) == nil && state.Status == "created"
	}
	if !poll(created) {
		raw, _ := os.ReadFile(filepath.Join(w.dir, w.id+".err"))
		t.Fatalf("the container does not come: %s%s", raw, &out)
	}
	w.output(t, "start", w.id)
	select {
	case <-ended:
	case <-time.After(patience):
		strace.Process.Kill()
		t.Fatal("strace does not end")
	}
	w.output(t, "delete", "--force", w.id)
	return dir
}

// calls are what each thread did, as strace prints it.
type calls struct {
	preambles []string          // threads
	lines     map[string][]call // by thread
}

// call is one line of strace.
type call struct {
	name   string
	args   []string
	result string // as strace prints it: "3", "-1 ENOENT (No such file or directory)"
}

// readTrace finds the preambles: processes that were executed with the variable that makes them one.
func readTrace(dir string) (*calls, error) {
	files, err := filepath.Glob(dir + "/t.*")
	if err != nil {
		return nil, err
	}
	c := &calls{lines: map[string][]call{}}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		thread := strings.TrimPrefix(filepath.Ext(f), ".")
		text := string(raw)
		if i := strings.Index(text, "_BERTH_NSENTER="); i >= 0 {
			c.preambles = append(c.preambles, thread)
			text = text[i:]
			text = text[strings.IndexByte(text, '\n')+1:]
		}
		for line := range strings.Lines(text) {
			if parsed, ok := parseCall(strings.TrimSuffix(line, "\n")); ok {
				c.lines[thread] = append(c.lines[thread], parsed)
			}
		}
	}
	if len(c.preambles) == 0 {
		return nil, errors.New("no preamble in the trace")
	}
	return c, nil
}

func parseCall(line string) (call, bool) {
	open := strings.IndexByte(line, '(')
	if open <= 0 || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "+++") {
		return call{}, false
	}
	args, rest, err := splitArgs(line[open+1:])
	if err != nil {
		return call{}, false
	}
	_, result, _ := strings.Cut(rest, "= ")
	return call{line[:open], args, result}, true
}

// splitArgs splits at the commas that stand in no string, bracket or brace, up to the closing parenthesis.
func splitArgs(s string) (args []string, rest string, err error) {
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '[', '{', '(':
			depth++
		case ']', '}':
			depth--
		case ')':
			if depth == 0 {
				if last := strings.TrimSpace(s[start:i]); last != "" || len(args) > 0 {
					args = append(args, last)
				}
				return args, s[i+1:], nil
			}
			depth--
		case ',':
			if depth == 0 {
				args = append(args, strings.TrimSpace(s[start:i]))
				start = i + 1
			}
		}
	}
	return nil, "", fmt.Errorf("no closing parenthesis: %s", s)
}
