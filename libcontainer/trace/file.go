package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// The file is a JSON array without its end, which the format allows: so commands append to it, one after the other or
// several at once. With a "]" behind it it is JSON, and can still be appended to.
const arrayBegin = "[\n"

var (
	errNoTrace = errors.New("it is no trace that could be appended to: a JSON array of events")
	errNoFile  = errors.New("not a regular file")
)

// write writes all but the last phase, which ends with that, and then it.
func (r *recorder) write() error {
	text := make([]byte, 0, 64<<10)
	for _, tracks := range r.late {
		for _, t := range tracks() {
			text = r.appendTrack(text, t)
		}
	}
	last := r.own.Events[r.phase]
	r.own.PID = os.Getpid()
	r.own.Events = slices.Delete(r.own.Events, r.phase, r.phase+1)
	text = r.appendTrack(text, r.own)
	return withFile(r.path, func(f *os.File) error {
		if err := appendTo(f, text); err != nil {
			return err
		}
		last.End = r.now()
		return appendTo(f, r.appendEvent(nil, last, r.own.PID))
	})
}

const separator = ",\n"

// appendTrack appends the track's events, with its name. A process has one thread that matters.
func (r *recorder) appendTrack(text []byte, t Track) []byte {
	for _, what := range []string{"process_name", "thread_name"} {
		text = append(text, `{"ph":"M","name":"`+what+`"`...)
		text = appendPID(text, t.PID)
		text = appendArgs(text, []Arg{{"name", t.Name}})
		text = append(text, "}"+separator...)
	}
	for _, e := range t.Events {
		text = r.appendEvent(text, e, t.PID)
	}
	return text
}

// appendEvent appends a "complete event".
func (r *recorder) appendEvent(text []byte, e Event, pid int) []byte {
	text = appendString(append(text, `{"ph":"X","name":`...), e.Name)
	text = appendString(append(text, `,"cat":`...), e.Kind)
	text = strconv.AppendInt(append(text, `,"ts":`...), microseconds(e.Begin), 10)
	text = strconv.AppendInt(append(text, `,"dur":`...), max(microseconds(e.End)-microseconds(e.Begin), 0), 10)
	text = appendPID(text, pid)
	if e.failed() {
		text = append(text, `,"cname":"terrible"`...) // chrome://tracing's red
	}
	text = appendArgs(text, e.Args, r.caller...)
	return append(text, "}"+separator...)
}

func appendPID(text []byte, pid int) []byte {
	text = strconv.AppendInt(append(text, `,"pid":`...), int64(pid), 10)
	return strconv.AppendInt(append(text, `,"tid":`...), int64(pid), 10)
}

func appendArgs(text []byte, args []Arg, more ...Arg) []byte {
	if len(args)+len(more) == 0 {
		return text
	}
	before := `,"args":{`
	for _, a := range slices.Concat(args, more) {
		text = appendString(append(text, before...), a.Key)
		text = appendString(append(text, ':'), a.Value)
		before = ","
	}
	return append(text, '}')
}

// microseconds are the format's unit. Viewers read a fraction as a float64, which has no digits left for it behind the time
// since 1970; then events overlap that should follow each other, and Perfetto drops them.
func microseconds(ns int64) int64 { return ns / 1000 }

func appendString(text []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			raw, _ := json.Marshal(s) // no string fails
			return append(text, raw...)
		}
	}
	return append(append(append(text, '"'), s...), '"')
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

// appendTo writes all of the events, each with separator behind it, or nothing.
func appendTo(f *os.File, events []byte) error {
	at, before, err := place(f)
	if err != nil {
		return err
	}
	events = append(bytes.TrimSuffix(events, []byte(separator)), '\n')
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
