package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// condition returns the bracketed word at the beginning of an entry's reason, without the brackets. The entry's verdicts
// were taken, and are checked, only where it holds.
func (e *entry) condition() string {
	if len(e.reason) == 0 || !strings.HasPrefix(e.reason[0], "[") {
		return ""
	}
	word, _, _ := strings.Cut(e.reason[0][1:], "]")
	return word
}

// elsewhere says why a program's verdicts do not apply to this machine; empty if they do. Conditions are of the views that
// the machine's own layout has; with all of cgroup2, verdicts are those of the guest of tests/vm.
func (l *list) elsewhere(program, view string) string {
	e := l.find(program)
	if e == nil || view == "unified" || view == "systemd" {
		return ""
	}
	c := e.condition()
	if holds, _ := conditionHolds(c); holds {
		return ""
	}
	return fmt.Sprintf("[%s] the listed verdicts are for machines of that kind", c)
}

// conditionHolds says whether a condition of the list holds on this machine, and whether there is such a condition.
func conditionHolds(name string) (holds, known bool) {
	switch name {
	case "":
		return true, true
	case "no-cap-sys-resource":
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
		return err == nil && has == 0, true
	case "no-selinux":
		return absent("/sys/fs/selinux/enforce"), true
	case "no-apparmor":
		return absent("/sys/module/apparmor"), true
	case "no-v1-hugetlb":
		return absent(cgroupRoot + "/hugetlb"), true
	case "no-v1-net_cls":
		return absent(cgroupRoot + "/net_cls"), true
	case "two-cpus":
		return runtime.NumCPU() >= 2, true
	}
	return false, false
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}
