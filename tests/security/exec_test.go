package security

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pausing makes a container that does nothing but be there.
func (l *lab) pausing(bundle string, edit func(*specs.Spec)) {
	l.Helper()
	l.bundle(bundle, func(s *specs.Spec) {
		s.Process.Args = []string{"attack", "pause"}
		if edit != nil {
			edit(s)
		}
	})
	l.detach(bundle)
}

// exec runs a command in a container.
func (l *lab) exec(bundle string, flags []string, command ...string) run {
	return l.berth(slices.Concat([]string{"exec"}, flags, []string{l.name(bundle)}, command)...)
}

// A program in the container tries to overwrite the executable of every process that it sees, while other containers are
// made in its pid namespace whose program is #!/proc/self/exe, and while processes are executed in its own container.
// One attacker has what a container usually has, and must not even see the executable; one may trace every process of
// its pid namespace.
//
//cve:2019-5736
func TestExeOverwrite(t *testing.T) {
	l := start(t, "exe-overwrite")
	for _, traces := range []bool{false, true} {
		name := "attacker" + strconv.FormatBool(traces)
		attacker := l.bundle(name, func(s *specs.Spec) {
			s.Process.Args = []string{"attack", "overwrite"}
			if traces {
				for _, set := range []*[]string{&s.Process.Capabilities.Bounding, &s.Process.Capabilities.Permitted, &s.Process.Capabilities.Effective} {
					*set = append(*set, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH")
				}
			}
		})
		entry := []byte("#!/proc/self/exe\n")
		l.must(os.WriteFile(filepath.Join(attacker, "bin/again"), entry, 0o755))
		l.detach(name)
		pidns := fmt.Sprintf("/proc/%d/ns/pid", l.pid(name))
		victim := l.bundle("b"+name, func(s *specs.Spec) {
			s.Process.Args = []string{"/again"}
			for i := range s.Linux.Namespaces {
				if s.Linux.Namespaces[i].Type == specs.PIDNamespace {
					s.Linux.Namespaces[i].Path = pidns
				}
			}
		})
		l.must(os.WriteFile(filepath.Join(victim, "again"), entry, 0o755))
		var o outcome
		l.raceFor(raceTime/2, func() int {
			o.add(l.exec(name, nil, "true"))
			if traces { // it may see what the image itself executes
				o.add(l.exec(name, nil, "/bin/again"))
				o.add(l.run("b" + name))
				return 3
			}
			return 1
		})
		l.delete(name)
		l.Logf("tracing %v: %v", traces, o)
		out := read(l.path(name + ".out"))
		if saw := strings.Contains(out, "saw "); saw != traces {
			l.Errorf("an attacker that may trace: %v, has seen the executable: %v", traces, saw)
		}
		if strings.Contains(out, "overwrote") {
			l.Error(out)
		}
	}
}

var capLine = regexp.MustCompile(`(?m)^(Cap[A-Z][a-z]+):\s+([0-9a-f]+)$`)

// capabilities reads the sets of a process out of its /proc/PID/status.
func capabilities(status string) map[string]uint64 {
	sets := map[string]uint64{}
	for _, m := range capLine.FindAllStringSubmatch(status, -1) {
		sets[m[1]], _ = strconv.ParseUint(m[2], 16, 64)
	}
	return sets
}

// What is executed in a container has no inheritable and no ambient capability, however it was asked for, and even if
// the manager has them; and none but those of the container and those asked for.
//
//cve:2022-29162,2022-27650,2025-27612
func TestExecCaps(t *testing.T) {
	l := start(t, "exec-caps")
	l.pausing("b", nil)
	own := capabilities(l.exec("b", nil, "cat", "/proc/self/status").out)
	if own["CapBnd"] == 0 {
		l.Fatal("the container has no capabilities to begin with")
	}
	const netRaw = 1 << 13
	process := l.path("process.json")
	raw, err := json.Marshal(specs.Process{
		Args: []string{"cat", "/proc/self/status"}, Cwd: "/", Env: []string{"PATH=/bin"},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_NET_RAW"}, Permitted: []string{"CAP_NET_RAW"}, Effective: []string{"CAP_NET_RAW"}},
	})
	l.must(err)
	l.must(os.WriteFile(process, raw, 0o644))
	for _, manager := range []string{"usual", "with inheritable and ambient capabilities"} {
		wrap := func(cmd *exec.Cmd) {
			if manager != "usual" {
				setpriv, err := exec.LookPath("setpriv")
				l.must(err)
				cmd.Args = append([]string{setpriv, "--inh-caps", "+chown,+net_raw,+sys_admin", "--ambient-caps", "+chown,+net_raw,+sys_admin"}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
				cmd.Path = setpriv
			}
		}
		for _, c := range []struct {
			flags []string
			more  uint64
		}{
			{nil, 0},
			{[]string{"--cap", "CAP_NET_RAW"}, netRaw},
			{[]string{"--user", "1000:1000"}, 0},
			{[]string{"--user", "1000:1000", "--cap", "CAP_NET_RAW"}, netRaw},
			{[]string{"--process", process}, netRaw},
		} {
			l.tries++
			args := slices.Concat([]string{"exec"}, c.flags, []string{l.name("b")})
			if !slices.Contains(c.flags, "--process") {
				args = append(args, "cat", "/proc/self/status")
			}
			r := l.command(wrap, args...)
			sets := capabilities(r.out)
			if r.status != 0 || len(sets) != 5 {
				l.Errorf("%s manager, %v: %v", manager, c.flags, r)
				continue
			}
			if sets["CapInh"] != 0 || sets["CapAmb"] != 0 {
				l.Errorf("%s manager, %v: inheritable %x, ambient %x", manager, c.flags, sets["CapInh"], sets["CapAmb"])
			}
			for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
				if extra := sets[set] &^ (own["CapBnd"] | c.more); extra != 0 {
					l.Errorf("%s manager, %v: %s has %x besides", manager, c.flags, set, extra)
				}
			}
			if c.more != 0 && sets["CapBnd"]&c.more == 0 {
				l.Errorf("%s manager, %v: the capability that was asked for is missing", manager, c.flags)
			}
		}
	}
}

var (
	plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	idLine      = regexp.MustCompile(`(?m)^([UG])id:\s+(\d+)\t(\d+)\t(\d+)\t(\d+)$`)
)

// --user is a number or a name and nothing else: what a lenient parser would take for user 0 is refused, whatever the
// image's /etc/passwd says.
//
//cve:2026-30892
func TestExecUser(t *testing.T) {
	l := start(t, "exec-user")
	l.bundle("b", func(s *specs.Spec) {
		s.Process.Args = []string{"attack", "pause"}
		s.Process.User = specs.User{UID: 500, GID: 500}
	})
	l.must(os.WriteFile(l.path("b/rootfs/etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n"+
		"77:x:0:0::/:\nminus:x:-1:0::/:\nbig:x:4294967296:0::/:\nnone:x:4294967295:0::/:\nhex:x:0x0:0::/:\nempty:x:::/:\nshort:x\n"), 0o644))
	l.detach("b")
	try := func(user string) (uid, gid string, accepted bool) {
		l.tries++
		r := l.exec("b", []string{"--user=" + user}, "cat", "/proc/self/status")
		ids := map[string]string{}
		for _, m := range idLine.FindAllStringSubmatch(r.out, -1) {
			if m[2] != m[3] || m[3] != m[4] || m[4] != m[5] {
				l.Errorf("%q: %s", user, m[0])
			}
			ids[m[1]] = m[2]
		}
		switch {
		case r.status == 0 && len(ids) == 2:
			return ids["U"], ids["G"], true
		case r.status == 255 && r.out == "":
			return "", "", false
		}
		l.Errorf("%q: %v", user, r)
		return "", "", false
	}
	for _, user := range []string{
		"", "-1", "4294967295", "4294967296", "18446744073709551616", "0x", "0x0", "00", "1:", ":1", ":", " 1", "1 ", "+1", "1e0",
		"1:-1", "1:4294967295", "1:4294967296", "1:0x", "1: 1", "1:1:1", "root:", "root:nosuch", "nosuch", "root\n", "\t0", "1.0",
		"minus", "big", "none", "hex", "empty", "short", "Root", "../etc/passwd", "٠", "root:x", "alice:0x0",
	} {
		if uid, gid, accepted := try(user); accepted {
			l.Errorf("%q is taken for %s:%s", user, uid, gid)
		}
	}
	for user, want := range map[string]string{"0": "0:500", "77": "77:500", "1000:5": "1000:5", "root": "0:0", "alice": "1000:1000", "alice:root": "1000:0"} {
		if uid, gid, accepted := try(user); !accepted || uid+":"+gid != want {
			l.Errorf("%q is taken for %s:%s, not %s", user, uid, gid, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "0123456789:::xX+- \t.eroot"
	l.raceFor(raceTime/3, func() int {
		var user []byte
		for range 1 + random.IntN(5) {
			user = append(user, letters[random.IntN(len(letters))])
		}
		uid, gid, accepted := try(string(user))
		if !accepted || string(user) == "root" {
			return 0
		}
		wantUID, wantGID, _ := strings.Cut(string(user), ":")
		if wantGID == "" {
			wantGID = "500"
		}
		if !plainNumber.MatchString(wantUID) || !plainNumber.MatchString(wantGID) || uid != wantUID || gid != wantGID {
			l.Errorf("%q is taken for %s:%s", user, uid, gid)
		}
		return 0
	})
}
