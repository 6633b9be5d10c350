package managers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A machine is where one manager runs with one runtime: see the script of that name; or the one that this is, a guest.
type machine struct {
	name    string // of its groups
	runtime string
	cmd     *exec.Cmd // nil for a guest
	hold    io.Closer // the machine is gone when this is closed
	pid     string    // its pid 1, as seen from outside
}

const namePrefix = "berth-managers-"

// boot makes one.
func boot(manager, runtime, programs string) (*machine, error) {
	m := &machine{name: fmt.Sprintf("%s%d-%s-%s", namePrefix, os.Getpid(), manager, runtime), runtime: runtime}
	script, err := filepath.Abs("machine")
	if err != nil {
		return nil, err
	}
	m.cmd = exec.Command(script, m.name, programs)
	complaints := new(bytes.Buffer)
	m.cmd.Stderr = complaints
	if m.hold, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscanf(line, "ready %s", &m.pid); err != nil {
		m.end()
		return nil, fmt.Errorf("the machine did not come up: %s", complaints)
	}
	return m, nil
}

// guest is this machine, which has systemd and is nobody's.
func guest(_, runtime, programs string) (*machine, error) {
	m := &machine{runtime: runtime}
	out, err := exec.Command("sh", "-c", `cp "$0"/* /usr/local/bin && { [ -e /run/box ] || ./box; }`, programs).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return m, nil
}

// run runs a shell script in the machine. The context ends only its shell: what that leaves ends with the machine.
func (m *machine) run(script, name string, patience time.Duration) (stdout, stderr string, err error) {
	const (
		enter   = `for dir in $GROUPS_; do echo $$ >$dir/cgroup.procs || exit; done; unset GROUPS_; exec nsenter --target "$0" --all sh -c "$@"`
		prepare = `mkdir -p "/var/tmp/$C" && cd "/var/tmp/$C" && exec sh -c "$0"`
	)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", enter, m.pid, prepare, script)
	if m.cmd == nil {
		cmd = exec.CommandContext(ctx, "sh", "-c", prepare, script)
	}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "HOME=/var/tmp", "C=" + name, "RUNTIME=" + m.runtime, "TERM=xterm",
		"BERTH_LAYER_ROOT=/run/store",
		"GROUPS_=" + strings.Join(hostGroups(m.name), " ")}
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %s", patience)
	}
	return out.String(), errs.String(), err
}

// A snapshot is what containers could leave: processes, mounts, groups, network interfaces, state directories.
type snapshot map[string]bool

const snapshotScript = `
processes=$(for dir in /proc/[0-9]*; do
	grep -q '^State:.*[ZX]' $dir/status 2>/dev/null || echo "process $(tr '\0\n' '  ' <$dir/cmdline)"
done 2>/dev/null) # before there is a process that filters them
echo "$processes" | grep -av 'process \(cat\|tini -- cat\|sh -c .*\|\) *$'
awk '{ print "mount " $5 }' /proc/self/mountinfo
find /sys/fs/cgroup -mindepth 2 -type d | sed 's/^/group /'
ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/interface \1/'
find /run /var/tmp -name state.json | sed 's/^/state /'
iptables-save 2>/dev/null | grep ^-A | sed 's/^/packet filter /'
ls /var/lib/cni/networks/*/ 2>/dev/null | grep '^[0-9]' | sed 's/^/address /'
`

func (m *machine) snapshot() (snapshot, error) {
	out, errs, err := m.run(snapshotScript, "snapshot", time.Minute)
	if err != nil && out == "" {
		return nil, fmt.Errorf("%w: %s", err, errs)
	}
	seen := snapshot{}
	for line := range strings.Lines(out) {
		seen[strings.TrimSpace(line)] = true
	}
	return seen, nil
}

// What a manager keeps when its last container is gone and it has ended: its own groups, networks and files.
var managersOwn = regexp.MustCompile(`^group /sys/fs/cgroup/[^/]+/(docker|docker/buildkit|libpod_parent(/case\d+)?(/conmon)?|machine\.slice|machine|k8s\.io|kubepods|buildkit|buildah|default|swarm)$` +
	`|^interface (docker0|docker_gwbridge|cni\d|cni-podman\d|podman\d)$|^packet filter |^mount /run/(docker/netns(/default)?|netns|containerd/[a-z.]*)$` +
	`|^mount /var/lib/(docker|containers)/[a-z/.0-9-]*$`)

// left says what is there that was not before, and is not the manager's own.
func (before snapshot) left(after snapshot) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(after)), func(thing string) bool {
		return before[thing] || managersOwn.MatchString(thing)
	})
}

// end ends the machine with all that is in it and removes its groups; it returns those that could not be removed.
func (m *machine) end() error {
	if m.cmd == nil {
		return exec.Command("sh", "-c", "rm -rf /var/tmp/*").Run()
	}
	m.hold.Close()
	m.cmd.Wait()
	return removeGroups(hostGroups(m.name))
}

// removeStale removes the groups of runs that were killed.
func removeStale() {
	for _, dir := range hostGroups(namePrefix + "*") {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), namePrefix), "-")
		if _, err := os.Stat("/proc/" + pid); err != nil {
			removeGroups([]string{dir})
		}
	}
}

func removeGroups(tops []string) error {
	var left []string
	for _, top := range tops {
		var dirs []string
		filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if !eventually(func() bool { err := os.Remove(dir); return err == nil || os.IsNotExist(err) }) {
				left = append(left, dir)
			}
		}
	}
	if left != nil {
		return fmt.Errorf("groups are left: %s", strings.Join(left, " "))
	}
	return nil
}

func hostGroups(name string) []string {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	return append(dirs, more...)
}

// eventually asks again for ten seconds: what ends may be seen for a moment.
func eventually(done func() bool) bool {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// hostState is what a manager would change of the real machine if anything got out: packet filter, forwarding,
// interfaces, and mounts and groups with a manager's name.
func hostState() string {
	var out strings.Builder
	for _, command := range []string{
		`cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding`,
		`iptables-save | grep -v '^#' | sed 's/\[.*//'`,
		`ip -o link | sed 's/^[0-9]*: \([^:]*\):.*/\1/'`,
		`awk '{ print $5 }' /proc/self/mountinfo | grep -E 'docker|containers/|containerd|netns|berth-managers'`,
		`ls -d /sys/fs/cgroup/*/docker /sys/fs/cgroup/*/libpod_parent /sys/fs/cgroup/*/k8s.io /sys/fs/cgroup/*/berth-managers-*`,
	} {
		raw, _ := exec.Command("sh", "-c", command).Output()
		fmt.Fprintf(&out, "$ %s\n%s", command, raw)
	}
	return out.String()
}
