package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// log writes the error that ends a command. Managers read the log's file as
// JSON: podman takes it for one single object, containerd keeps the last line
// with level "error". So nothing else goes there unless --debug asks for it.
type log struct {
	path  string
	json  bool
	debug bool
}

func (l *log) open(path, format string, debug bool) error {
	switch format {
	case "text", "":
	case "json":
		l.json = true
	default:
		return usage("--log-format", "takes text or json")
	}
	l.path, l.debug = path, debug
	return nil
}

// entry is one line of the JSON log.
type entry struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
	Time  string `json:"time"`
	*details
	Errors []details `json:"errors,omitempty"`
}

// details are an error's fields.
type details struct {
	Op    string        `json:"op,omitempty"`
	Path  string        `json:"path,omitempty"`
	Field fault.Pointer `json:"field,omitempty"`
	Doc   string        `json:"document,omitempty"` // what field points into; config.json where it is missing
	Errno string        `json:"errno,omitempty"`
	Hint  string        `json:"hint,omitempty"`
	Phase fault.Phase   `json:"phase,omitempty"`
	Code  string        `json:"code,omitempty"`
}

func detailsOf(e *fault.Error) details {
	d := details{Op: e.Op, Path: e.Path, Field: e.Field, Doc: e.Doc, Hint: e.Hint, Phase: e.Phase, Code: e.Code}
	if e.Errno != 0 {
		d.Errno = unix.ErrnoName(e.Errno)
	}
	return d
}

// fail reports the error that ends the command: in the log, as text on standard
// error, and in the trace.
func (l *log) fail(err error) {
	trace.Fail(err)
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(os.Stderr, "berth: %s\n", strings.TrimSuffix(line, "\n"))
	}
	l.write("error", err)
}

// warn reports what is no failure.
func (l *log) warn(e *fault.Error) {
	if e.Code == fault.Note && !l.debug {
		return
	}
	if l.path == "" {
		fmt.Fprintf(os.Stderr, "berth: warning: %s\n", e)
		return
	}
	if l.debug {
		l.write("warning", e)
	}
}

func (l *log) write(level string, err error) {
	if l.path == "" && !l.json {
		return
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	line := fmt.Sprintf("time=%q level=%s msg=%q\n", now, level, err)
	if l.json {
		line = string(l.marshal(level, now, err)) + "\n"
	}
	out := os.Stderr
	if l.path != "" {
		f, openErr := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if openErr != nil {
			fmt.Fprintf(os.Stderr, "berth: %s\n", openErr)
			return
		}
		defer f.Close()
		out = f
	}
	out.WriteString(line)
}

func (l *log) marshal(level, now string, err error) []byte {
	e := entry{Level: level, Msg: err.Error(), Time: now}
	var list fault.List
	var one *fault.Error
	switch {
	case errors.As(err, &list):
		for _, item := range list {
			e.Errors = append(e.Errors, detailsOf(item))
		}
	case errors.As(err, &one):
		d := detailsOf(one)
		e.details = &d
	}
	raw, marshalErr := json.Marshal(e)
	if marshalErr != nil {
		return nil
	}
	return raw
}
