package process

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is process.env with the extra variables. Of a variable that is
// given twice the last one counts, in its place, as with runc.
func environment(env, extra []string) []string {
	return lastOfEach(append(slices.Clone(env), extra...))
}

// lastOfEach keeps the last value of each variable.
func lastOfEach(env []string) []string {
	seen := make(map[string]bool, len(env))
	out := env[:0:0]
	for i := len(env) - 1; i >= 0; i-- {
		name, _, _ := strings.Cut(env[i], "=")
		if !seen[name] {
			seen[name] = true
			out = append(out, env[i])
		}
	}
	slices.Reverse(out)
	return out
}

// variable is the last value of the variable in a list of NAME=VALUE.
func variable(env []string, name string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// candidates are the paths at which the program may be, in the order of PATH.
// A name with a slash is itself, relative to the working directory. Parts of
// PATH that are not absolute are passed over: a program in the working
// directory is never found by its bare name.
func (p *Plan) candidates() []string {
	name := p.program()
	if strings.Contains(name, "/") {
		return []string{name}
	}
	list, ok := variable(p.env, "PATH")
	if !ok {
		list = defaultPath
	}
	var out []string
	for dir := range strings.SplitSeq(list, ":") {
		if strings.HasPrefix(dir, "/") && name != "" {
			out = append(out, strings.TrimRight(dir, "/")+"/"+name)
		}
	}
	return out
}

// textError has the text that managers look for, and its errno.
type textError struct {
	text  string
	errno unix.Errno
}

func (e textError) Error() string { return e.text }
func (e textError) Unwrap() error { return e.errno }

const (
	opFind = "find the executable"
	opExec = "exec"
)

// Explain rewrites the failure of a step of this plan for its reader; other
// errors it returns as they are.
func (p *Plan) Explain(e *fault.Error) *fault.Error {
	if e == nil || e.Phase != fault.PhaseProcess {
		return e
	}
	switch e.Op {
	case opFind:
		return p.ExplainFind(e.Errno)
	case opExec:
		return p.ExplainExec(e.Errno)
	}
	if e.Hint == "" {
		e.Hint = hint(e.Op, e.Errno)
	}
	return e
}

// ExplainFind is the error where no candidate may be executed. Docker and
// Podman match on its text: it decides between exit status 126 and 127.
func (p *Plan) ExplainFind(errno unix.Errno) *fault.Error {
	name := p.program()
	e := &fault.Error{
		Op: "exec: " + strconv.Quote(name), Field: "/process/args/0", Phase: fault.PhaseExec,
		Hint: p.findHint(errno),
	}
	switch {
	case !strings.Contains(name, "/"):
		e.Err = textError{"executable file not found in $PATH", errno}
	case errno == unix.ENOENT || errno == unix.ENOTDIR:
		e.Msg, e.Errno = "stat "+name, errno
	default:
		e.Errno = errno
	}
	return e
}

func (p *Plan) findHint(errno unix.Errno) string {
	if strings.Contains(p.program(), "/") {
		return hint(opFind, errno)
	}
	list, ok := variable(p.env, "PATH")
	switch {
	case errno == unix.EACCES:
		return "there is one, but user " + p.userText() + " may not execute it"
	case !ok:
		return "process.env has no PATH, so " + defaultPath + " was searched"
	}
	return "in process.env PATH is " + strconv.Quote(list)
}

// ExplainExec is the error where execve(2) itself failed.
func (p *Plan) ExplainExec(errno unix.Errno) *fault.Error {
	return &fault.Error{
		Op: opExec, Path: p.program(), Field: "/process/args/0", Phase: fault.PhaseExec,
		Errno: errno, Hint: hint(opExec, errno),
	}
}

func (p *Plan) program() string {
	if p.File != "" {
		return p.File
	}
	if len(p.args) == 0 {
		return ""
	}
	return p.args[0]
}
