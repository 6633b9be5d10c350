package criu

import (
	"bytes"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// Of CRIU's log an error quotes the last lines that tell one, from so much of
// its end.
const (
	quoted  = 3
	logTail = 256 << 10
)

// lastErrors are the last "Error (" lines of CRIU's log, without the time.
func lastErrors(path string) ([]string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	end, err := unix.Seek(fd, 0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, min(end, logTail))
	n, err := unix.Pread(fd, raw, max(0, end-logTail))
	if err != nil {
		return nil, err
	}
	return errorLines(raw[:n]), nil
}

func errorLines(log []byte) []string {
	var out []string
	for line := range bytes.Lines(log) {
		if i := bytes.Index(line, []byte("Error (")); i >= 0 {
			out = append(out, strings.TrimSpace(string(line[i:])))
		}
	}
	return out[max(0, len(out)-quoted):]
}

// advise is a way out of what CRIU itself has no advice for.
func advise(lines []string) string {
	for _, line := range lines {
		if strings.Contains(line, "vdso") {
			return "this CRIU does not know the vDSO of this kernel, a newer one may"
		}
	}
	return ""
}
