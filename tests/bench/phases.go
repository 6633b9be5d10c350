package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// countSyscalls counts the system calls of one `run /bin/true`, all processes together; "-" where strace is not
// there or the run fails under it.
func (b *bench) countSyscalls(d contender) string {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return "-"
	}
	report := filepath.Join(b.dir, "strace")
	argv := append([]string{strace, "-f", "-c", "-o", report}, d.command("run", b.container(d, "plain"))...)
	if _, err := b.invoke(argv); err != nil {
		b.sweep(d)
		return "-"
	}
	text, err := os.ReadFile(report)
	if err != nil {
		return "-"
	}
	return totalCalls(string(text))
}

// totalCalls reads the "calls" column of the total line of strace -c.
func totalCalls(report string) string {
	for line := range strings.Lines(report) {
		fields := strings.Fields(line)
		if len(fields) >= 5 && fields[len(fields)-1] == "total" {
			return fields[3]
		}
	}
	return "-"
}
