package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
)

// The file is a JSON array without its end, which the format allows: so commands append to it, one after the other or
// several at once. With a "]" behind it it is JSON, and can still be appended to.
const arrayBegin = "[\n"

var (
	errNoTrace = errors.New("it is no trace that could be appended to: a JSON array of events")
	errNoFile  = errors.New("not a regular file")
)

// line is one event of the file.
type line struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"` // "X": complete event; "M": metadata
	Begin    json.Number    `json:"ts,omitempty"`
	Duration json.Number    `json:"dur,omitempty"`
	PID      int            `json:"pid"`
	TID      int            `json:"tid"`
	Color    string         `json:"cname,omitempty"`
	Args     map[string]any `json:"args,omitempty"`
}

// microseconds is the unit of the format, from nanoseconds.
func microseconds(ns int64) json.Number {
	return json.Number(fmt.Sprintf("%d.%03d", ns/1000, ns%1000))
}

func (r *recorder) line(e Event, pid int) line {
	l := line{Name: e.Name, Category: e.Kind, Phase: "X", Begin: microseconds(e.Begin), Duration: microseconds(max(e.End-e.Begin, 0)),
		PID: pid, TID: pid, Args: e.Args}
	if _, failed := e.Args[argError]; failed {
		l.Color = "terrible" // chrome://tracing's red
	}
	if len(r.caller) > 0 {
		l.Args = maps.Clone(r.caller)
		maps.Copy(l.Args, e.Args)
	}
	return l
}

// lines are the track's events, with its name. A process has one thread that matters.
func (r *recorder) lines(t Track) (out []line) {
	for _, what := range []string{"process_name", "thread_name"} {
		out = append(out, line{Name: what, Phase: "M", PID: t.PID, TID: t.PID, Args: map[string]any{"name": t.Name}})
	}
	for _, e := range t.Events {
		out = append(out, r.line(e, t.PID))
	}
	return out
}

// write ends the last phase, when all but that is ready to be written.
func (r *recorder) write() error {
	var lines []line
	for _, tracks := range r.late {
		for _, t := range tracks() {
			lines = append(lines, r.lines(t)...)
		}
	}
	r.own.PID = os.Getpid()
	last := &r.own.Events[r.phase]
	last.End = last.Begin
	lines = append(lines, r.lines(r.own)...)
	var text bytes.Buffer
	for i := range lines {
		if i == len(lines)-1 {
			last.End = r.now()
			lines[i] = r.line(*last, r.own.PID)
		}
		raw, err := json.Marshal(lines[i])
		if err != nil {
			return err
		}
		if i > 0 {
			text.WriteString(",\n")
		}
		text.Write(raw)
	}
	text.WriteByte('\n')
	return withFile(r.path, func(f *os.File) error { return appendTo(f, text.Bytes()) })
}

// prepare makes the file and looks whether it can be appended to. It returns its absolute name.
func prepare(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return absolute, withFile(absolute, func(f *os.File) error {
		_, _, err := place(f)
		return err
	})
}

// withFile opens the file and locks it for do against other commands. Not by os.OpenFile: the Go runtime's poller would take
// numbers of descriptors that --preserve-fds may mean.
func withFile(path string, do func(*os.File) error) error {
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0o644)
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, errNoFile)
	}
	if _, err := retry(func() (int, error) { return 0, syscall.Flock(fd, syscall.LOCK_EX) }); err != nil {
		return &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return do(f)
}

func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR {
			return n, err
		}
	}
}

// appendTo writes all of it or nothing.
func appendTo(f *os.File, events []byte) error {
	at, before, err := place(f)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(append([]byte(before), events...), at); err != nil {
		return errors.Join(err, f.Truncate(at))
	}
	return nil
}

// place is where the next event belongs, and what goes between it and what is there. An end of the array is overwritten.
func place(f *os.File) (at int64, before string, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	if st.Size() == 0 {
		return 0, arrayBegin, nil
	}
	var first [1]byte
	tail := make([]byte, min(st.Size(), 64))
	if _, err := f.ReadAt(first[:], 0); err != nil {
		return 0, "", err
	}
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil {
		return 0, "", err
	}
	from := st.Size() - int64(len(tail))
	tail = bytes.TrimRight(tail, " \t\r\n")
	tail = bytes.TrimRight(bytes.TrimSuffix(tail, []byte("]")), " \t\r\n")
	at = from + int64(len(tail))
	switch {
	case first[0] != '[':
	case at == 1, bytes.HasSuffix(tail, []byte(",")):
		return at, "\n", nil
	case bytes.HasSuffix(tail, []byte("}")):
		return at, ",\n", nil
	}
	return 0, "", errNoTrace
}
