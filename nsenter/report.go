package nsenter

import (
	"strings"

	"golang.org/x/sys/unix"
)

// ReportSize is the size of the one record that a failing step leaves behind
// after ReportTo.
const ReportSize = messageSize

// ReadReport decodes such a record: the step and its errno.
func ReadReport(raw []byte) (step uint32, errno unix.Errno, ok bool) {
	if len(raw) != messageSize {
		return 0, 0, false
	}
	m := decodeMessage(raw)
	return m.id, unix.Errno(m.value), m.kind == messageFailed
}

// kernelText is the message of a mount context ("e proc: Unknown parameter
// 'x'"), without its level.
func kernelText(s string) string {
	s = strings.TrimRight(s, "\n\x00")
	if len(s) > 2 && strings.ContainsRune("ewi", rune(s[0])) && s[1] == ' ' {
		s = s[2:]
	}
	return s
}
