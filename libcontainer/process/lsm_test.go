package process

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"berth/libcontainer/host"
)

var registers = regexp.MustCompile(`\br[0-9]+\b`)

// unnumbered are the steps without the numbers of their registers.
func unnumbered(t *testing.T, p *Plan) []string {
	t.Helper()
	lines := steps(t, p)
	for i := range lines {
		lines[i] = registers.ReplaceAllString(lines[i], "rN")
	}
	return lines
}

// withLSMs is a machine with both modules, which no real one has in use.
func withLSMs(f *host.Facts) { f.LSM = host.LSM{AppArmor: true, SELinux: true} }

// The steps that label the process, and where they stand among the others.
//
//spec:26,27
func TestLabels(t *testing.T) {
	const (
		apparmor = `rN = openat(rN, "thread-self/attr/apparmor/exec", O_WRONLY|O_CLOEXEC)  # /process/apparmorProfile`
		selinux  = `rN = openat(rN, "thread-self/attr/exec", O_WRONLY|O_CLOEXEC)  # /process/selinuxLabel`
		keys     = `rN = openat(rN, "thread-self/attr/keycreate", O_WRONLY|O_CLOEXEC)  # /process/selinuxLabel`
		keyring  = `rN = keyctl(KEYCTL_JOIN_SESSION_KEYRING, "_ses.c1") or ENOSYS|EPERM -> `
		noPrivs  = "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # /process/noNewPrivileges"
	)
	write := func(text, field string) []string {
		return []string{`write(rN, "` + text + `", ` + strconv.Itoa(len(text)) + `)  # ` + field, "close(rN)  # " + field}
	}
	join := func(parts ...[]string) (out []string) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	one := func(s ...string) []string { return s }
	tests := []struct {
		name, config string
		facts        func(*host.Facts)
		opt          Options
		want         []string
		never        []string
	}{
		{name: "AppArmor", config: `{"process": {"apparmorProfile": "docker-default", "noNewPrivileges": true}}`,
			want: join(one(apparmor), write("exec docker-default", "/process/apparmorProfile"), one(noPrivs))},
		{name: "AppArmor before Linux 5.8", config: `{"process": {"apparmorProfile": "p"}}`,
			facts: func(f *host.Facts) { f.Kernel = host.Version{Major: 5, Minor: 7} },
			want:  join(one(strings.Replace(apparmor, "apparmor/", "", 1)), write("exec p", "/process/apparmorProfile"))},
		{name: "a stack of profiles is the kernel's to read", config: `{"process": {"apparmorProfile": "a//&:ns:b c"}}`,
			want: write("exec a//&:ns:b c", "/process/apparmorProfile")},
		{name: "unconfined is a profile too", config: `{"process": {"apparmorProfile": "unconfined"}}`,
			want: write("exec unconfined", "/process/apparmorProfile")},
		{name: "unconfined without AppArmor", config: `{"process": {"apparmorProfile": "unconfined"}}`,
			facts: func(f *host.Facts) { f.LSM.AppArmor = false }, never: one("attr/")},
		{name: "nothing asked for", config: `{}`, never: one("attr/")},
		{name: "SELinux, and the keyring", config: `{"process": {"selinuxLabel": "u:r:t:s0:c1,c2"}}`,
			want: join(one(keys), write("u:r:t:s0:c1,c2", "/process/selinuxLabel"), one(keys), write("", "/process/selinuxLabel"),
				one(selinux), write("u:r:t:s0:c1,c2", "/process/selinuxLabel"))},
		{name: "SELinux without a keyring", config: `{"process": {"selinuxLabel": "u:r:t:s0", "noNewPrivileges": true}}`,
			opt: Options{NoNewKeyring: true}, never: one("keycreate", "keyctl"),
			want: join(one(selinux), write("u:r:t:s0", "/process/selinuxLabel"), one(noPrivs))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := machine()
			withLSMs(&f)
			if tt.facts != nil {
				tt.facts(&f)
			}
			lines := unnumbered(t, planOf(t, config(t, tt.config), f, tt.opt))
			follow(t, lines, tt.want)
			never(t, lines, tt.never...)
		})
	}
	t.Run("the keyring is made between", func(t *testing.T) {
		f := machine()
		withLSMs(&f)
		lines := unnumbered(t, planOf(t, config(t, `{"process": {"selinuxLabel": "x"}}`), f, Options{}))
		at := func(part string) int {
			for i, l := range lines {
				if strings.HasPrefix(l, part) {
					return i
				}
			}
			t.Fatalf("no %s", part)
			return 0
		}
		if !(at(`rN = openat(rN, "thread-self/attr/keycreate"`) < at(keyring) && at(keyring) < at(`write(rN, "", 0)`)) {
			t.Error(strings.Join(lines, "\n"))
		}
	})
}

// What is said where the kernel lacks a module, or cannot take the text.
//
//spec:26,27
func TestLabelComplaints(t *testing.T) {
	const (
		noAppArmor = "this kernel has no AppArmor, or has it disabled"
		noSELinux  = "this kernel has no SELinux, or has it disabled"
		noText     = "a zero byte or a line break cannot be part of it"
	)
	long := strings.Repeat("x", 4096)
	tests := []struct{ lsm, config, want string }{
		{"", `{"apparmorProfile": "docker-default"}`, "/process/apparmorProfile docker-default: " + noAppArmor},
		{"selinux", `{"apparmorProfile": "docker-default"}`, "/process/apparmorProfile docker-default: " + noAppArmor},
		{"", `{"selinuxLabel": "a:b"}`, "/process/selinuxLabel a:b: " + noSELinux},
		{"apparmor", `{"selinuxLabel": "a:b"}`, "/process/selinuxLabel a:b: " + noSELinux},
		{"", `{"apparmorProfile": "p", "selinuxLabel": "a:b"}`,
			"/process/apparmorProfile p: " + noAppArmor + "\n/process/selinuxLabel a:b: " + noSELinux},
		{"apparmor", `{"apparmorProfile": "p"}`, ""},
		{"selinux", `{"selinuxLabel": "a:b"}`, ""},
		{"apparmor", `{"apparmorProfile": "a\nb"}`, "/process/apparmorProfile a\nb: " + noText},
		{"selinux", `{"selinuxLabel": "a\u0000b"}`, "/process/selinuxLabel a\x00b: " + noText},
		{"apparmor", `{"apparmorProfile": "` + long[5:] + `"}`, ""},
		{"apparmor", `{"apparmorProfile": "` + long[4:] + `"}`,
			"/process/apparmorProfile : it is longer than the 4096 bytes that the kernel reads"},
		{"selinux", `{"selinuxLabel": "` + long + `x"}`,
			"/process/selinuxLabel : it is longer than the 4096 bytes that the kernel reads"},
	}
	for _, tt := range tests {
		f := machine()
		f.LSM = host.LSM{AppArmor: tt.lsm == "apparmor", SELinux: tt.lsm == "selinux"}
		_, _, complaints := NewPlan(config(t, `{"process": `+tt.config+`}`), f, Options{NoNewKeyring: true})
		if got := messages(complaints); got != tt.want {
			t.Errorf("%s %.60s:\n%s\nwant:\n%s", tt.lsm, tt.config, got, tt.want)
		}
		for _, c := range complaints {
			if c.Hint == "" && c.Msg != noText && !strings.Contains(c.Msg, "longer") {
				t.Errorf("%s has no hint", c)
			}
		}
	}
}
