package criu

import (
	"encoding/binary"
	"fmt"
)

// CRIU is spoken to in protocol buffers (proto2). Of those it takes very
// little to write one kind of request and to read four fields of the answers,
// while the usual library brings 3 MB and work at every start.

// message is a protocol buffer that is being written, and its text for people.
type message struct {
	raw   []byte
	lines []string
}

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

func (m *message) tag(f field, wire int) {
	m.raw = binary.AppendUvarint(m.raw, uint64(f.number<<3|wire))
}

// number writes an int32, uint32 or enum; a negative one takes its ten bytes.
func (m *message) number(f field, n int) {
	m.tag(f, wireVarint)
	m.raw = binary.AppendUvarint(m.raw, uint64(int64(n)))
	m.lines = append(m.lines, fmt.Sprintf("%s %d", f.name, n))
}

// flag writes true, and nothing for false, which is CRIU's default everywhere.
func (m *message) flag(f field, on bool) {
	if on {
		m.tag(f, wireVarint)
		m.raw = append(m.raw, 1)
		m.lines = append(m.lines, f.name)
	}
}

// text writes a string, and nothing for an empty one.
func (m *message) text(f field, s string) {
	if s != "" {
		m.bytes(f, []byte(s))
		m.lines = append(m.lines, f.name+" "+s)
	}
}

func (m *message) bytes(f field, b []byte) {
	m.tag(f, wireBytes)
	m.raw = binary.AppendUvarint(m.raw, uint64(len(b)))
	m.raw = append(m.raw, b...)
}

// group writes a message that is a field.
func (m *message) group(f field, fill func(*message)) {
	var sub message
	fill(&sub)
	m.bytes(f, sub.raw)
	for _, line := range sub.lines {
		m.lines = append(m.lines, f.name+"."+line)
	}
}

// reader takes a protocol buffer apart. What does not fit makes it bad.
type reader struct {
	raw []byte
	bad bool
}

// next reads one field: its number, and its value as a number or as bytes.
func (r *reader) next() (number int, n uint64, b []byte, ok bool) {
	if len(r.raw) == 0 || r.bad {
		return 0, 0, nil, false
	}
	tag := r.varint()
	number = int(tag >> 3)
	switch tag & 7 {
	case wireVarint:
		n = r.varint()
	case wireFixed8:
		r.take(8)
	case wireBytes:
		b = r.take(r.varint())
	case wireFixed4:
		r.take(4)
	default:
		r.bad = true
	}
	return number, n, b, !r.bad
}

func (r *reader) varint() uint64 {
	n, size := binary.Uvarint(r.raw)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.raw = r.raw[size:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.raw)) {
		r.bad = true
		return nil
	}
	b := r.raw[:n]
	r.raw = r.raw[n:]
	return b
}

// field is one field of a message of CRIU's (images/rpc.proto).
type field struct {
	number int
	name   string
}

// Fields of criu_req and criu_resp.
var (
	reqType          = field{1, "type"}
	reqOpts          = field{2, "opts"}
	reqNotifySuccess = field{3, "notify_success"}
)

const (
	respType    = 1
	respSuccess = 2
	respRestore = 4 // criu_restore_resp: 1 is pid
	respNotify  = 5 // criu_notify: 1 is script, 2 is pid
	respMessage = 9 // cr_errmsg
)

// Fields of criu_opts and what is below it.
var (
	optImagesDir       = field{1, "images_dir_fd"}
	optPID             = field{2, "pid"}
	optLeaveRunning    = field{3, "leave_running"}
	optExtUnixSk       = field{4, "ext_unix_sk"}
	optTCPEstablished  = field{5, "tcp_established"}
	optEvasiveDevices  = field{6, "evasive_devices"}
	optShellJob        = field{7, "shell_job"}
	optFileLocks       = field{8, "file_locks"}
	optLogLevel        = field{9, "log_level"}
	optLogFile         = field{10, "log_file"}
	optPageServer      = field{11, "ps"}
	optNotifyScripts   = field{12, "notify_scripts"}
	optRoot            = field{13, "root"}
	optParentImg       = field{14, "parent_img"}
	optTrackMem        = field{15, "track_mem"}
	optAutoDedup       = field{16, "auto_dedup"}
	optWorkDir         = field{17, "work_dir_fd"}
	optLinkRemap       = field{18, "link_remap"}
	optManageCgroups   = field{24, "manage_cgroups"}
	optCgRoot          = field{25, "cg_root"}
	optRstSibling      = field{26, "rst_sibling"}
	optInheritFD       = field{27, "inherit_fd"}
	optCgroupsMode     = field{34, "manage_cgroups_mode"}
	optExternal        = field{37, "external"}
	optEmptyNS         = field{38, "empty_ns"}
	optJoinNS          = field{39, "join_ns"}
	optFreezeCgroup    = field{44, "freeze_cgroup"}
	optTCPSkipInFlight = field{46, "tcp_skip_in_flight"}
	optLazyPages       = field{48, "lazy_pages"}
	optOrphanPts       = field{50, "orphan_pts_master"}
	optConfigFile      = field{51, "config_file"}
	optTCPClose        = field{52, "tcp_close"}
	optLSMProfile      = field{53, "lsm_profile"}
	optLSMMountContext = field{63, "lsm_mount_context"}
	optNetworkLock     = field{64, "network_lock"}

	psAddress = field{1, "address"}
	psPort    = field{2, "port"}

	cgRootCtrl = field{1, "ctrl"}
	cgRootPath = field{2, "path"}

	inheritKey = field{1, "key"}
	inheritFD  = field{2, "fd"}

	joinKind = field{1, "ns"}
	joinFile = field{2, "ns_file"}
)

// Kinds of requests (criu_req_type).
const (
	typeDump    = 1
	typeRestore = 2
	typePreDump = 4
	typeNotify  = 6
)
