package tests

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// step is one line of `berth plan --steps`.
type step struct {
	result    string // the register that takes the result, "r4"
	name      string
	args      []string
	accept    []string // errnos that are no failure
	onAccept  int      // the step that follows an accepted errno
	onSuccess int      // the step that follows success
	text      string
}

// Compiled when they are used: this program starts for each command of a script, too.
var (
	stepHead = compiled(`^ *(\d+) (?:(r\d+) = )?(\w+)\(`)
	stepTail = compiled(`^(?: or ([A-Z0-9|]+)(?: -> (\d+))?)?(?: then -> (\d+))?(?:  # .*)?$`)
)

func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

func parseSteps(text string) ([]step, error) {
	var steps []step
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		head := stepHead().FindStringSubmatch(line)
		if head == nil || head[1] != strconv.Itoa(len(steps)) {
			return nil, fmt.Errorf("not step %d: %s", len(steps), line)
		}
		args, rest, err := splitArgs(line[len(head[0]):])
		if err != nil {
			return nil, err
		}
		tail := stepTail().FindStringSubmatch(rest)
		if tail == nil {
			return nil, fmt.Errorf("step %d ends in %q", len(steps), rest)
		}
		s := step{result: head[2], name: head[3], args: args, onAccept: len(steps) + 1, onSuccess: len(steps) + 1, text: line}
		if tail[1] != "" {
			s.accept = strings.Split(tail[1], "|")
		}
		if tail[2] != "" {
			s.onAccept, _ = strconv.Atoi(tail[2])
		}
		if tail[3] != "" {
			s.onSuccess, _ = strconv.Atoi(tail[3])
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// compare walks the program along the trace. Where several processes are preambles (hooks have their own), one of them
// must be this program's; the error is that of the one which comes furthest.
func compare(steps []step, c *calls) error {
	var first error
	best := -1
	for _, thread := range c.preambles {
		m := &match{steps: steps, calls: c, thread: thread, registers: map[string]string{}}
		err := m.preamble()
		if err == nil {
			err = m.walk()
		}
		if err == nil {
			return nil
		}
		if m.furthest > best {
			best, first = m.furthest, err
		}
	}
	return first
}

// match is a place in the program and the trace.
type match struct {
	steps     []step
	calls     *calls
	thread    string
	at        int // of the thread's calls
	step      int
	registers map[string]string // as strace prints them
	furthest  int
}

// peek is the next call; calls that a signal interrupted are seen again.
func (m *match) peek() (call, bool) {
	lines := m.calls.lines[m.thread]
	for m.at < len(lines) && strings.HasPrefix(lines[m.at].result, "? ERESTART") {
		m.at++
	}
	if m.at >= len(lines) {
		return call{}, false
	}
	return lines[m.at], true
}

// expect takes the next call, which must have one of these names.
func (m *match) expect(names ...string) (call, error) {
	c, ok := m.peek()
	if !ok {
		return c, fmt.Errorf("wants %s, and there is no further call", strings.Join(names, " or "))
	}
	if !slices.Contains(names, c.name) {
		return c, fmt.Errorf("wants %s, not %s(%s)", strings.Join(names, " or "), c.name, strings.Join(c.args, ", "))
	}
	m.at++
	return c, nil
}

// sequence takes calls of these names, all successful.
func (m *match) sequence(names ...string) error {
	for _, name := range names {
		c, err := m.expect(strings.Split(name, "|")...)
		if err != nil {
			return err
		}
		if errno := c.errno(); errno != "" {
			return fmt.Errorf("%s ends with %s", c.name, errno)
		}
	}
	return nil
}

// errno is the name of the error that the call ended with.
func (c call) errno() string {
	rest, failed := strings.CutPrefix(c.result, "-1 ")
	if !failed {
		return ""
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}

func (c call) value() string {
	v, _, _ := strings.Cut(c.result, " ")
	return v
}

// The preamble's own calls, after those of the C library's start: it makes itself undumpable, keeps its socket from
// execve, closes what it was not given, and maps the program.
func (m *match) preamble() error {
	lines := m.calls.lines[m.thread]
	m.at = slices.IndexFunc(lines, func(c call) bool { return c.name == "prctl" && c.args[0] == "PR_SET_DUMPABLE" })
	if m.at < 0 {
		return errors.New("no preamble: nobody calls prctl(PR_SET_DUMPABLE)")
	}
	if err := m.sequence("prctl", "fcntl", "close_range"); err != nil {
		return fmt.Errorf("preamble: %w", err)
	}
	fds, err := m.descriptors()
	if err == nil {
		err = m.sequence("fstat|newfstatat", "mmap", "close")
	}
	if err != nil || len(fds) == 0 {
		return fmt.Errorf("preamble: %d descriptors, %w", len(fds), err)
	}
	received := fds[1:] // behind the program's own
	for {
		c, ok := m.peek()
		if !ok || c.name != "recvmsg" {
			break
		}
		more, err := m.descriptors()
		if err != nil {
			return err
		}
		received = append(received, more...)
	}
	for i, fd := range received {
		m.registers["r"+strconv.Itoa(i+1)] = fd
	}
	return nil
}

var rights = compiled(`cmsg_data=\[([0-9, ]*)\]`)

// descriptors takes a recvmsg and returns what came with it.
func (m *match) descriptors() ([]string, error) {
	c, err := m.expect("recvmsg")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, found := range rights().FindAllStringSubmatch(strings.Join(c.args, ", "), -1) {
		out = append(out, strings.Split(found[1], ", ")...)
	}
	return out, nil
}

func (m *match) walk() error {
	for m.step < len(m.steps) {
		m.furthest = max(m.furthest, m.at)
		s := &m.steps[m.step]
		if s.name == "CHECK" && len(s.accept) > 0 {
			return m.either(s)
		}
		outcome, err := m.perform(s)
		if err != nil {
			return fmt.Errorf("%s\n%w", s.text, err)
		}
		switch {
		case outcome == "" && s.name == "execve":
			return nil
		case outcome == "":
			m.step = s.onSuccess
		case slices.Contains(s.accept, outcome):
			m.step = s.onAccept
		default:
			return fmt.Errorf("%s\nends with %s, which the program does not accept", s.text, outcome)
		}
	}
	return errors.New("the program ends without execve")
}

// either tries both ways on from a check, whose verdict cannot be seen.
func (m *match) either(s *step) error {
	if err := m.sequence("fstat|newfstatat", "fstatfs"); err != nil {
		return fmt.Errorf("%s\n%w", s.text, err)
	}
	other := *m
	other.registers = maps.Clone(m.registers)
	m.step, other.step = s.onSuccess, s.onAccept
	err := m.walk()
	if err == nil || other.walk() == nil {
		return nil
	}
	m.furthest = max(m.furthest, other.furthest)
	return err
}

// perform takes the calls that a step stands for and returns the errno that the step ended with.
func (m *match) perform(s *step) (errno string, err error) {
	switch s.name {
	case "SYNC":
		return "", m.sequence("sendmsg", "recvmsg")
	case "FORK":
		return "", m.fork()
	case "SEND_FD":
		return "", m.sequence("sendmsg")
	case "CHECK":
		return "", m.sequence("fstat|newfstatat", "fstatfs")
	case "INSIDE":
		return "", m.sequence("getcwd")
	case "STORE":
		return "", nil
	case "LIKE_MODE":
		return "", m.sequence("fstat|newfstatat", "openat", "fchmod", "close")
	case "REPORT":
		return "", m.sequence("close")
	case "FIND":
		return m.find(s)
	case "MAKE":
		return m.make(s)
	}
	c, err := m.expect(s.name)
	if err != nil {
		return "", err
	}
	if err := m.sameArgs(s, c); err != nil {
		return "", err
	}
	if errno := c.errno(); errno != "" {
		return errno, nil
	}
	if s.result != "" {
		m.registers[s.result] = c.value()
	}
	return "", nil
}

// fork: the parent tells the runtime and ends, the child goes on. What the C library adds to fork(3) is no matter.
func (m *match) fork() error {
	m.pass("rt_sigprocmask")
	c, err := m.expect("clone", "clone3", "fork")
	if err != nil {
		return err
	}
	m.pass("rt_sigprocmask")
	if err := m.sequence("sendmsg", "exit_group"); err != nil {
		return err
	}
	m.thread, m.at = c.value(), 0
	m.pass("set_robust_list", "gettid", "rt_sigprocmask")
	return nil
}

// pass goes past calls of these names.
func (m *match) pass(names ...string) {
	for {
		c, ok := m.peek()
		if !ok || !slices.Contains(names, c.name) {
			return
		}
		m.at++
	}
}

// find: each candidate is looked at until one may be executed.
func (m *match) find(s *step) (string, error) {
	errno := "ENOENT"
	candidates, _, err := splitArgs(strings.Trim(s.args[0], "[]") + ")")
	if err != nil {
		return "", err
	}
	for _, candidate := range candidates {
		c, err := m.expect("newfstatat", "fstatat64", "stat", "statx")
		if err != nil {
			return "", err
		}
		path := c.args[min(1, len(c.args)-1)]
		if c.name == "stat" {
			path = c.args[0]
		}
		if path != candidate {
			return "", fmt.Errorf("looks for %s, not %s", path, candidate)
		}
		if c.errno() != "" || strings.Contains(strings.Join(c.args, " "), "st_mode=S_IFDIR") {
			continue
		}
		c, err = m.expect("faccessat2", "faccessat")
		if err != nil {
			return "", err
		}
		if errno = c.errno(); errno == "" {
			m.registers[s.result] = candidate
			return "", nil
		}
	}
	return errno, nil
}

// make: the whole path at once where it is there; else one component after the other.
func (m *match) make(s *step) (string, error) {
	path, err := strconv.Unquote(s.args[1])
	if err != nil {
		return "", err
	}
	if s.args[3] == "like" {
		if err := m.sequence("fstat|newfstatat"); err != nil {
			return "", err
		}
	}
	c, err := m.openInRoot(s.args[0], path)
	if err != nil || c.errno() != "ENOENT" {
		m.registers[s.result] = c.value()
		return c.errno(), err
	}
	parent, err := m.openInRoot(s.args[0], ".")
	if err != nil {
		return "", err
	}
	prefix := ""
	if path[0] != '/' {
		prefix = "."
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		prefix = strings.TrimPrefix(prefix+"/"+name, "./")
		next, err := m.component(s.args[0], prefix, name, parent.value())
		if err != nil || next.errno() != "" {
			return next.errno(), err
		}
		if err := m.sequence("close"); err != nil {
			return "", err
		}
		parent = next
	}
	m.registers[s.result] = parent.value()
	return "", nil
}

// component is opened, or made and opened.
func (m *match) component(root, prefix, name, parent string) (call, error) {
	c, err := m.openInRoot(root, prefix)
	if err != nil || c.errno() != "ENOENT" {
		return c, err
	}
	c, err = m.expect("mkdirat", "openat")
	if err != nil || c.errno() != "" {
		return c, err
	}
	if c.args[0] != parent || c.args[1] != strconv.Quote(name) {
		return c, fmt.Errorf("makes %s in %s, not %q in %s", c.args[1], c.args[0], name, parent)
	}
	if c.name == "openat" {
		if err := m.sequence("close"); err != nil {
			return c, err
		}
	}
	c, err = m.expect("openat2")
	if err == nil && (c.args[0] != parent || !strings.Contains(c.args[2], "RESOLVE_NO_SYMLINKS")) {
		err = fmt.Errorf("what was made is opened with openat2(%s)", strings.Join(c.args, ", "))
	}
	return c, err
}

// openInRoot takes the call that opens a path inside the root, whatever links there are.
func (m *match) openInRoot(root, path string) (call, error) {
	c, err := m.expect("openat2")
	if err != nil {
		return c, err
	}
	want := strconv.Quote(path)
	if c.args[0] != m.registers[root] || c.args[1] != want || !strings.Contains(c.args[2], "RESOLVE_IN_ROOT") ||
		!strings.Contains(c.args[2], "RESOLVE_NO_MAGICLINKS") {
		return c, fmt.Errorf("openat2(%s) does not open %s inside %s", strings.Join(c.args, ", "), want, m.registers[root])
	}
	return c, nil
}

var (
	register = compiled(`^r\d+$`)
	commas   = strings.NewReplacer(",", "")
	constant = compiled(`\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b`)
)

// sameArgs holds a call's arguments to the step's: registers, strings, lists of strings and numbers must be equal, and
// every named constant of the step must be in the call.
func (m *match) sameArgs(s *step, c call) error {
	for i, want := range s.args {
		if i >= len(c.args) {
			break // strace leaves out what the call does not use
		}
		if !m.sameArg(want, c.args[i]) {
			return fmt.Errorf("argument %d is %s, not %s", i, c.args[i], want)
		}
	}
	return nil
}

func (m *match) sameArg(want, got string) bool {
	if register().MatchString(want) {
		want = m.registers[want]
		return want == got
	}
	switch want[0] {
	case '"':
		return want == got || strings.Contains(got, `\`)
	case '[':
		return commas.Replace(want) == commas.Replace(got) || strings.Contains(got, `\`)
	}
	if a, err := strconv.ParseInt(want, 0, 64); err == nil {
		b, err := strconv.ParseInt(got, 0, 64)
		return err != nil || a == b
	}
	want = strings.ReplaceAll(want, "MOUNT_ATTR__ATIME", "MOUNT_ATTR_NOATIME") // strace does not know the mask of both
	have := constant().FindAllString(got, -1)
	for _, name := range constant().FindAllString(want, -1) {
		if len(have) > 0 && !slices.Contains(have, name) {
			return false
		}
	}
	return true
}
