package criu

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// logTail is how much of CRIU's log is looked at, from its end.
const logTail = 256 << 10

// readErrors are the "Error (" lines of CRIU's log, without the time. What only
// says that it failed is not among them.
func readErrors(path string) ([]string, error) {
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
		i := bytes.Index(line, []byte("Error ("))
		if i < 0 || bytes.HasSuffix(line, []byte("ing FAILED.\n")) {
			continue
		}
		if text := strings.TrimSpace(string(line[i:])); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// quote is what an error quotes of them: the first, which is mostly the cause,
// and where that has led to.
func quote(lines []string) string {
	if len(lines) > 3 {
		lines = append(slices.Clip(lines[:1]), lines[len(lines)-2:]...)
	}
	return strings.Join(lines, " | ")
}

// advice is the way out of what CRIU itself has no advice for.
var advice = [...]struct{ text, hint string }{
	{"vdso", "this CRIU does not know the vDSO of this kernel, a newer one may"},
	{`execvp("iptables`, "CRIU holds the network with iptables: install it, or see --network-lock"},
	{"Connected TCP socket in image", "pass --tcp-established as to checkpoint, or --tcp-close"},
	{"Can't open parent path: Permission denied", "in a user namespace the container's root has to be able to search the directories of the parents"},
	{"File fd/", outsideFile},
	{"Can't open file fd/", outsideFile},
}

const outsideFile = "what was a file at checkpoint, such as the process's output, has to be given to restore again, as it was then; " +
	"with a pipe there any pipe will do"

func advise(lines []string) string {
	for _, a := range advice {
		for _, line := range lines {
			if strings.Contains(line, a.text) {
				return a.hint
			}
		}
	}
	return ""
}
