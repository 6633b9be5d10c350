package criu

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

func TestDumpRequest(t *testing.T) {
	d := Dump{
		Options: Options{
			Images: "/i", Work: "/w", TCPEstablished: true, TCPClose: true, ExtUnixSockets: true, ShellJob: true,
			FileLocks: true, LazyPages: true, AutoDedup: true, Cgroups: 5, EmptyNS: unix.CLONE_NEWNET, NetworkLock: 2,
			ConfigFile: "/etc/criu/runc.conf",
		},
		Parent: "../1", LeaveRunning: true, TCPSkipInFlight: true, LinkRemap: true,
		PageServer: PageServer{Address: "::1", Port: 27},
		PID:        300, Root: "/b/rootfs", Freezer: "/sys/fs/cgroup/c",
		Mounts:     []Mount{{Key: "0", Place: "/v: [a]"}, {Key: "null", Place: "/proc/kcore"}},
		Namespaces: []Namespace{{Kind: "net", Inode: 4026531840}, {Kind: "pid", Inode: 5}},
		Files:      []string{"file[1a:3]"},
	}
	want := `type 1
images_dir_fd 7
work_dir_fd 8
log_level 4
log_file dump.log
root /b/rootfs
notify_scripts
orphan_pts_master
tcp_established
tcp_close
ext_unix_sk
shell_job
file_locks
lazy_pages
auto_dedup
manage_cgroups
manage_cgroups_mode 5
empty_ns 1073741824
network_lock 2
config_file /etc/criu/runc.conf
pid 300
leave_running
tcp_skip_in_flight
link_remap
freeze_cgroup /sys/fs/cgroup/c
parent_img ../1
track_mem
ps.address ::1
ps.port 27
external net[4026531840]:extRootNetNS
external pid[5]:extRootPidNS
external mnt[/v: [a]]:0
external mnt[/proc/kcore]:null
external file[1a:3]
`
	if got := d.Request(7, 8).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPreDumpRequest(t *testing.T) {
	got := Dump{PreDump: true, PID: 1}.Request(3, -1).String()
	if !strings.HasPrefix(got, "type 4\n") || !strings.Contains(got, "\ntrack_mem\n") || strings.Contains(got, "work_dir_fd") {
		t.Error(got)
	}
}

func TestRestoreRequest(t *testing.T) {
	r := Restore{
		Options: Options{Cgroups: 3}, Root: "/run/berth/c/criu-root",
		LSMProfile: "apparmor:p", LSMMountContext: "system_u:object_r:x",
		Mounts:     []Mount{{Key: "0", Place: "/host/]:x"}},
		Namespaces: []Namespace{{Kind: "ipc", Path: "/proc/5/ns/ipc"}},
		Inherit:    []Inherit{{"pipe:[9]", 1}, {"extRootNetNS", FirstFile}},
		CgRoots:    []CgRoot{{"", "/c"}, {"cpu,cpuacct", "/d"}},
	}
	want := `type 2
images_dir_fd 3
log_level 4
log_file restore.log
root /run/berth/c/criu-root
notify_scripts
orphan_pts_master
manage_cgroups
manage_cgroups_mode 3
evasive_devices
rst_sibling
lsm_profile apparmor:p
lsm_mount_context system_u:object_r:x
cg_root.path /c
cg_root.ctrl cpu,cpuacct
cg_root.path /d
join_ns.ns ipc
join_ns.ns_file /proc/5/ns/ipc
external mnt[0]:/host/]:x
inherit_fd.key pipe:[9]
inherit_fd.fd 1
inherit_fd.key extRootNetNS
inherit_fd.fd 4
`
	if got := r.Request(3, -1).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The bytes are what the usual protocol buffer library makes of the same
// request, field by field in another order.
func TestWire(t *testing.T) {
	var m message
	m.number(optPID, 300)
	m.number(optImagesDir, -1)
	m.flag(optLeaveRunning, true)
	m.flag(optShellJob, false)
	m.text(optExternal, "mnt[/v]:0")
	m.group(optPageServer, func(m *message) {
		m.text(psAddress, "::1")
		m.number(psPort, 27)
	})
	if got, want := hex.EncodeToString(m.raw), "10ac02"+"08ffffffffffffffffff01"+"1801"+"aa02096d6e745b2f765d3a30"+"5a070a033a3a31101b"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOptions(t *testing.T) {
	for in, want := range map[string]PageServer{
		"":             {},
		"10.0.0.1:27":  {"10.0.0.1", 27},
		"[::1]:65535":  {"::1", 65535},
		"a:b:1":        {"a:b", 1},
		"10.0.0.1":     {},
		":27":          {},
		"a:0":          {},
		"a:65536":      {},
		"10.0.0.1:-27": {},
	} {
		got, err := ParsePageServer(in)
		if got != want || (err != nil) != (in != "" && want == PageServer{}) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for in, want := range map[string]CgroupMode{"": 3, "soft": 3, "ignore": 0, "full": 4, "strict": 5} {
		if got, err := ParseCgroupMode(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for in, want := range map[string]NetworkLock{"": 0, "iptables": 1, "nftables": 2, "skip": 3} {
		if got, err := ParseNetworkLock(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	_, mode := ParseCgroupMode("props")
	_, lock := ParseNetworkLock("none")
	_, empty := ParseEmptyNS([]string{"network", "user"})
	if mode == nil || lock == nil || empty == nil {
		t.Error("taken:", mode, lock, empty)
	}
	if flags, err := ParseEmptyNS([]string{"network"}); flags != unix.CLONE_NEWNET || err != nil {
		t.Error(flags, err)
	}
}

// What would read as another mount's key in CRIU's one string is refused
// (CVE-2026-119101).
func TestCheck(t *testing.T) {
	d := Dump{Parent: "/abs", Mounts: []Mount{{Key: "0", Place: "/a]:1", Field: "/mounts/3"}, {Key: "1", Place: "/a]"}, {Key: "2", Place: "/a:b"}}}
	var list fault.List
	if err := d.Check(); !errors.As(err, &list) || len(list) != 2 || list[0].Field != "/mounts/3" || list[1].Path != "/abs" {
		t.Error(err)
	}
	if err := (Dump{Parent: "../1"}).Check(); err != nil {
		t.Error(err)
	}
}

func TestReadAnswer(t *testing.T) {
	for in, want := range map[string]answer{
		"080610012a100a0c706f73742d726573746f72651005":   {kind: typeNotify, success: true, script: "post-restore", pid: 5},
		"080210002202084d38fdffffffffffffffff014a026e6f": {kind: typeRestore, pid: 77, text: "no"},
	} {
		raw, _ := hex.DecodeString(in)
		if got, ok := readAnswer(raw); !ok || got != want {
			t.Errorf("got %+v, %v, want %+v", got, ok, want)
		}
		if _, ok := readAnswer(raw[:len(raw)-1]); ok {
			t.Errorf("%x is taken without its end", raw)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{8, 6, 16, 1})
	f.Add([]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(_ *testing.T, raw []byte) { readAnswer(raw) })
}

func TestErrorLines(t *testing.T) {
	log := `(00.000001) Version: 3.17.1
(00.000002) Error (criu/a.c:1): cause
(00.000003)      1: Error (criu/a.c:2): then
Error (criu/util.c:3): without a time
(00.000004) Error (criu/a.c:2): then
(00.000005) Warn  (criu/a.c:4): nothing
(00.000006) Error (criu/a.c:5): last
(00.000007) Error (criu/cr-dump.c:2053): Dumping FAILED.
`
	got := quote(errorLines([]byte(log)))
	if want := "Error (criu/a.c:1): cause | Error (criu/util.c:3): without a time | Error (criu/a.c:5): last"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if quote(nil) != "" {
		t.Error("something is quoted of nothing")
	}
}
