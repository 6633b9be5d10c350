package seccompprofile

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

var here = Target{Arch: "amd64", Caps: []string{"CAP_KILL", "CAP_AUDIT_WRITE"}, Kernel: "6.1.0-17-amd64"}

// TestConditions reads: a rule with this condition is, or is not, for a container on amd64, kernel 6.1.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		rule string
		want bool
	}{
		{`{}`, true},
		{`"includes": {"arches": ["arm64"]}`, false},
		{`"includes": {"arches": ["amd64", "x32"]}`, true},
		{`"includes": {"caps": ["CAP_SYS_ADMIN"]}`, false},
		{`"includes": {"caps": ["CAP_KILL"]}`, true},
		{`"includes": {"caps": ["CAP_KILL", "CAP_SYS_ADMIN"]}`, false},
		{`"includes": {"minKernel": "4.8"}`, true},
		{`"includes": {"minKernel": "6.1"}`, true},
		{`"includes": {"minKernel": "6.2"}`, false},
		{`"includes": {"minKernel": "10.0"}`, false},
		{`"excludes": {"caps": ["CAP_KILL"]}`, false},
		{`"excludes": {"caps": ["CAP_SYS_ADMIN"]}`, true},
		{`"excludes": {"arches": ["amd64"]}`, false},
		{`"excludes": {"arches": ["s390x"]}`, true},
		{`"excludes": {"minKernel": "5.0"}`, false},
		{`"excludes": {"minKernel": "7.0"}`, true},
		{`"includes": {"arches": ["amd64"]}, "excludes": {"caps": ["CAP_KILL"]}`, false},
	} {
		condition := strings.Trim(c.rule, "{}")
		if strings.HasPrefix(c.rule, `"`) {
			condition = ", " + c.rule
		}
		text := `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "open", "action": "SCMP_ACT_ALLOW"` + condition + `}]}`
		filter, err := Resolve([]byte(text), here)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
		} else if got := len(filter.Syscalls) == 1; got != c.want {
			t.Errorf("%s: applies %v, want %v", c.rule, got, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ name, profile, want string }{
		{"name becomes names", `{"defaultAction":"A","syscalls":[{"name":"open","action":"B"}]}`,
			`{"defaultAction":"A","syscalls":[{"names":["open"],"action":"B"}]}`},
		{"errno by name", `{"defaultAction":"A","defaultErrno":"ENOSYS","defaultErrnoRet":1,
			"syscalls":[{"names":["a","b"],"action":"B","errno":"EPERM"}]}`,
			`{"defaultAction":"A","defaultErrnoRet":38,"syscalls":[{"names":["a","b"],"action":"B","errnoRet":1}]}`},
		{"errno by number", `{"defaultAction":"A","defaultErrnoRet":0}`, `{"defaultAction":"A","defaultErrnoRet":0}`},
		{"architectures of the family", `{"defaultAction":"A","archMap":[
			{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
			{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}]}`,
			`{"defaultAction":"A","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"]}`},
		{"fixed architectures", `{"defaultAction":"A","architectures":["SCMP_ARCH_X86"]}`,
			`{"defaultAction":"A","architectures":["SCMP_ARCH_X86"]}`},
		{"arguments", `{"defaultAction":"A","syscalls":[{"name":"clone","action":"B",
			"args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}`,
			`{"defaultAction":"A","syscalls":[{"names":["clone"],"action":"B","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}]}`},
	} {
		filter, err := Resolve([]byte(c.profile), here)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, _ := json.Marshal(filter); string(got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ profile, want string }{
		{`[`, "unexpected end of JSON input"},
		{`{"architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}`, "architectures and archMap"},
		{`{"syscalls":[{},{"name":"a","names":["b"]}]}`, "/syscalls/1: name and names"},
		{`{"syscalls":[{"name":"a","errno":"EWHAT"}]}`, `/syscalls/0: unknown errno "EWHAT"`},
		{`{"defaultErrno":"EWHAT"}`, "defaultErrno: unknown errno"},
		{`{"syscalls":[{"name":"a","includes":{"minKernel":"new"}}]}`, `/syscalls/0: kernel version "new"`},
		{`{"syscalls":[{"name":"a","excludes":{"minKernel":"new"}}]}`, `/syscalls/0: kernel version "new"`},
	} {
		if _, err := Resolve([]byte(c.profile), here); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.profile, err, c.want)
		}
	}
}

// TestDebianProfile resolves the profile that Podman uses on Debian, for two containers.
func TestDebianProfile(t *testing.T) {
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Skip("[seccomp.json] needs Debian's golang-github-containers-common")
	}
	for _, c := range []struct {
		cap    string
		mount  string
		chroot string
	}{
		{"CAP_SYS_ADMIN", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"},
		{"CAP_SYS_CHROOT", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"},
	} {
		filter, err := FromContainersJSON(text, "amd64", []string{c.cap})
		if err != nil {
			t.Fatal(err)
		}
		actions := map[string]string{}
		for _, s := range filter.Syscalls {
			for _, name := range s.Names {
				actions[name] = string(s.Action)
			}
		}
		if actions["read"] != "SCMP_ACT_ALLOW" || actions["setns"] != c.mount || actions["chroot"] != c.chroot {
			t.Errorf("with %s: read %s, setns %s, chroot %s", c.cap, actions["read"], actions["setns"], actions["chroot"])
		}
		if len(filter.Architectures) != 3 {
			t.Errorf("architectures: %v", filter.Architectures)
		}
	}
}
