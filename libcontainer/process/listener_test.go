package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A filter that notifies comes early, and its descriptor is handed over at
// once; what gives up rights and what limits the walker keeps its place.
//
//spec:78
func TestListenerSteps(t *testing.T) {
	const (
		load   = "r5 = seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW|SECCOMP_FILTER_FLAG_NEW_LISTENER, {2 instructions})  # /linux/seccomp"
		send   = "SEND_FD(listener, r5)  # /linux/seccomp/listenerPath"
		execve = `execve(r1, ["sh"], [])  # /process/args/0`
		rules  = `"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]`
	)
	f := machine()
	p := planOf(t, config(t, `{"process": {"noNewPrivileges": true}, "linux": {"seccomp": {`+rules+`}}}`), f, Options{})
	follow(t, steps(t, p), []string{"close_range(4, ~0U, 0)", load, send, execve})
	follow(t, p.Lines(), []string{"seccomp default SCMP_ACT_ALLOW, 1 rules, 2 instructions", "seccomp agent /run/agent"})
	if l := p.Listener(); l == nil || *l != (Listener{Path: "/run/agent"}) {
		t.Errorf("listener %+v", l)
	}

	f.Caps &^= 1 << unix.CAP_SYS_RESOURCE
	p = planOf(t, config(t, `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]}, "linux": {"seccomp": {`+rules+`}}}`), f, Options{})
	follow(t, steps(t, p), []string{load, send, "capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x0, inheritable=0x0})  # /process/capabilities",
		rlimitStep + "(0, RLIMIT_NOFILE, {rlim_cur=9, rlim_max=9}, NULL)  # /process/rlimits/0", execve})

	// Nothing notifies: the listener does not count (config-linux.md).
	p = planOf(t, config(t, `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"}}}`), f, Options{})
	never(t, steps(t, p), "NEW_LISTENER", "SEND_FD")
	if p.Listener() != nil {
		t.Error("a listener without notification")
	}
}
