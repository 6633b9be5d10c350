package cgroups

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Resources are limits as the files of a container's groups take them.
type Resources struct {
	// Writes happen before any process is in the groups.
	Writes []Write `json:"writes,omitempty"`
	// Late happen when the container's init has been forked: pids.max counts
	// the process that forks it, too.
	Late []Write `json:"late,omitempty"`
	// Filter is the device program of the cgroup2 group; nil where v1 has
	// the devices controller or where everything is allowed.
	Filter *DeviceFilter `json:"deviceFilter,omitempty"`
	// Warnings are entries of the config without effect on this machine.
	Warnings fault.List `json:"warnings,omitempty"`
}

const (
	resourcesField fault.Pointer = "/linux/resources"

	// codeNoController marks complaints that a machine with more controllers
	// would not have.
	codeNoController = "no-controller"
)

var cpusetFiles = [...]string{"cpuset.cpus", "cpuset.mems"}

// PlanResources turns linux.resources, except its device rules, into writes
// for the groups of s. It is pure; create and update use the same. Nil asks
// for nothing. Numbers that mean "not set" to the managers (0 for most, see
// each function) ask for nothing either. The list holds the complaints.
func PlanResources(r *specs.LinuxResources, s State, facts host.Facts) (Resources, fault.List) {
	p := planner{State: s, facts: facts}
	if r == nil {
		return p.Resources, nil
	}
	if r.Memory != nil {
		p.memory(r.Memory, resourcesField.At("memory"))
	}
	if r.CPU != nil {
		p.cpu(r.CPU, resourcesField.At("cpu"))
		p.cpuset(r.CPU, resourcesField.At("cpu"))
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		p.pids(*r.Pids.Limit, resourcesField.At("pids", "limit"))
	}
	if r.BlockIO != nil {
		p.blockIO(r.BlockIO, resourcesField.At("blockIO"))
	}
	p.hugepages(r.HugepageLimits, resourcesField.At("hugepageLimits"))
	if r.Network != nil {
		p.network(r.Network, resourcesField.At("network"))
	}
	p.rdma(r.Rdma, resourcesField.At("rdma"))
	// Last, so that whoever knows the v2 file has the last word.
	p.unifiedKeys(r.Unified, resourcesField.At("unified"))
	return p.Resources, p.complaints
}

// planner collects the writes of one PlanResources.
type planner struct {
	State
	Resources
	facts      host.Facts
	complaints fault.List
	lacking    []string // controllers complained about already
}

func (p *planner) complain(field fault.Pointer, msg, hint string) {
	p.complaints = append(p.complaints, refuse(field, msg, hint))
}

// ignored notes an entry that cgroup v2 has no file for; every runtime goes
// on without it.
func (p *planner) ignored(field fault.Pointer, msg string) {
	note := refuse(field, msg, "")
	note.Code = fault.Note
	p.Warnings = append(p.Warnings, note)
}

// target is the group of one controller, to which writes are added.
type target struct {
	p          *planner
	controller string
	dir        Dir
	ok         bool // the machine has the controller
	v2         bool // its files are those of cgroup v2
}

// on returns the controller's group. Where the machine lacks the controller,
// writes to it become a complaint. The v2 name differs for blkio.
func (p *planner) on(v1, v2 string) target {
	if d, ok := p.find(v1); ok && !d.V2 {
		return target{p: p, controller: v1, dir: d, ok: true}
	}
	if d, ok := p.v2(); ok && v2 != "" && d.Has(v2) {
		return target{p: p, controller: v2, dir: d, ok: true, v2: true}
	}
	if p.Unified() && v2 != "" {
		return target{p: p, controller: v2, v2: true}
	}
	return target{p: p, controller: v1}
}

// lost tells whether the controller is missing, and complains once about it.
func (t target) lost(field fault.Pointer) bool {
	if t.ok {
		return false
	}
	if !slices.Contains(t.p.lacking, t.controller) {
		t.p.lacking = append(t.p.lacking, t.controller)
		e := refuse(field, "no "+t.controller+" controller on this machine", "remove the limit, or enable the controller on the host")
		e.Code = codeNoController
		t.p.complaints = append(t.p.complaints, e)
	}
	return true
}

// put adds a write; the flags Optional, Again, Below and Else are taken from
// how.
func (t target) put(file, value string, field fault.Pointer, how Write) {
	if t.lost(field) {
		return
	}
	how.Dir, how.File, how.Value, how.Field = t.dir.Path, file, value, field
	if how.Else != nil {
		how.Else.Dir, how.Else.Field = t.dir.Path, field
	}
	t.p.Writes = append(t.p.Writes, how)
}

// loosen is put for a value that is every new group's own: a machine without
// the controller is as good.
func (t target) loosen(file, value string, field fault.Pointer, how Write) {
	if t.ok {
		t.put(file, value, field, how)
	}
}

// limit puts a number of bytes, where -1 asks for no limit, spelt so in v1
// and "max" in v2.
func (t target) limit(file string, n int64, field fault.Pointer, how Write) {
	switch {
	case n == -1 && t.v2:
		t.loosen(file, "max", field, how)
	case n == -1:
		t.loosen(file, "-1", field, how)
	default:
		t.put(file, strconv.FormatInt(n, 10), field, how)
	}
}

// pids limits tasks. 0 becomes 1, which is the init itself: no container can
// run with none. A negative number means no limit.
func (p *planner) pids(limit int64, field fault.Pointer) {
	t := p.on("pids", "pids")
	if limit < 0 {
		t.loosen("pids.max", "max", field, Write{})
	} else {
		t.put("pids.max", strconv.FormatInt(max(limit, 1), 10), field, Write{})
	}
	p.Late = append(p.Late, takeFile(&p.Writes, "pids.max")...)
}

// takeFile moves the writes to the named file out of the list.
func takeFile(list *[]Write, file string) []Write {
	var out []Write
	*list = slices.DeleteFunc(*list, func(w Write) bool {
		if w.File == file {
			out = append(out, w)
			return true
		}
		return false
	})
	return out
}

// cpuset pins to CPUs and memory nodes; both versions spell it alike.
func (p *planner) cpuset(c *specs.LinuxCPU, field fault.Pointer) {
	t := p.on("cpuset", "cpuset")
	if c.Cpus != "" {
		t.put(cpusetFiles[0], c.Cpus, field.At("cpus"), Write{})
	}
	if c.Mems != "" {
		t.put(cpusetFiles[1], c.Mems, field.At("mems"), Write{})
	}
}

// hugepages limits huge pages in use and, on kernels that count them
// (Linux 5.7), reserved ones.
func (p *planner) hugepages(limits []specs.LinuxHugepageLimit, field fault.Pointer) {
	for i, l := range limits {
		at := field.Index(i)
		if !isPageSize(l.Pagesize) {
			p.complain(at.At("pageSize"), "is not a page size", "write it as 64KB, 2MB or 1GB")
			continue
		}
		t := p.on("hugetlb", "hugetlb")
		file := ".limit_in_bytes"
		if t.v2 {
			file = ".max"
		}
		value := strconv.FormatUint(l.Limit, 10)
		t.put("hugetlb."+l.Pagesize+file, value, at.At("limit"), Write{})
		t.put("hugetlb."+l.Pagesize+".rsvd"+file, value, at.At("limit"), Write{Optional: true})
	}
}

// isPageSize recognises "64KB", "2MB", "1GB": it becomes part of a file name.
func isPageSize(s string) bool {
	digits := strings.TrimRight(s, "KMGTB")
	unit := s[len(digits):]
	_, err := strconv.ParseUint(digits, 10, 32)
	return err == nil && slices.Contains([]string{"KB", "MB", "GB", "TB"}, unit)
}

// isWord tells whether s is one field of a line: not empty, no blank or
// control character.
func isWord(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) < 0
}

// network marks and prioritises packets; cgroup v2 leaves that to filters.
func (p *planner) network(n *specs.LinuxNetwork, field fault.Pointer) {
	if n.ClassID != nil {
		p.v1Only("net_cls", field.At("classID"), func(t target, at fault.Pointer) {
			t.put("net_cls.classid", strconv.FormatUint(uint64(*n.ClassID), 10), at, Write{})
		})
	}
	for i, prio := range n.Priorities {
		at := field.At("priorities").Index(i)
		if !isWord(prio.Name) {
			p.complain(at.At("name"), "is not an interface's name", "")
			continue
		}
		p.v1Only("net_prio", at.At("priority"), func(t target, at fault.Pointer) {
			t.put("net_prio.ifpriomap", prio.Name+" "+strconv.FormatUint(uint64(prio.Priority), 10), at, Write{})
		})
	}
}

// v1Only hands over the controller's v1 group; on cgroup v2 alone, where the
// controller does not exist, the entry is ignored with a warning.
func (p *planner) v1Only(controller string, field fault.Pointer, put func(target, fault.Pointer)) {
	t := p.on(controller, "")
	if !t.ok && p.Unified() {
		p.ignored(field, "cgroup v2 has no "+controller+" controller; ignored")
		return
	}
	put(t, field)
}

// rdma limits each adapter's handles and objects; both versions spell it alike.
func (p *planner) rdma(devices map[string]specs.LinuxRdma, field fault.Pointer) {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		at := field.At(name)
		if !isWord(name) {
			p.complain(at, "is not an adapter's name", "")
			continue
		}
		value, d := name, devices[name]
		if d.HcaHandles != nil {
			value += " hca_handle=" + strconv.FormatUint(uint64(*d.HcaHandles), 10)
		}
		if d.HcaObjects != nil {
			value += " hca_object=" + strconv.FormatUint(uint64(*d.HcaObjects), 10)
		}
		if value == name {
			p.complain(at, "sets neither hcaHandles nor hcaObjects", "")
			continue
		}
		p.on("rdma", "rdma").put("rdma.max", value, at, Write{})
	}
}

// unifiedKeys writes files of cgroup v2 by their names.
func (p *planner) unifiedKeys(keys map[string]string, field fault.Pointer) {
	d, ok := p.v2()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := field.At(key)
		controller, _, dotted := strings.Cut(key, ".")
		switch {
		case strings.Contains(key, "/"), key != "" && !isWord(key):
			p.complain(at, "must be a file name (no slashes)", "")
		case !dotted || controller == "":
			p.complain(at, "must be in the form CONTROLLER.PARAMETER", "")
		case !ok:
			e := refuse(at, "needs cgroup v2", "use the entries of linux.resources that cgroup v1 has, too")
			e.Code = codeNoController
			p.complaints = append(p.complaints, e)
		case controller != "cgroup" && !d.Has(controller):
			target{p: p, controller: controller}.lost(at)
		default:
			p.unifiedWrites(d, key, keys[key], at)
		}
	}
}

// unifiedWrites takes one line after the other: files such as io.max take
// one device each write. pids.max waits like pids.limit.
func (p *planner) unifiedWrites(d Dir, file, value string, at fault.Pointer) {
	list := &p.Writes
	if file == "pids.max" {
		list = &p.Late
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(value, "\n"), "\n") {
		*list = append(*list, Write{Dir: d.Path, File: file, Value: line, Field: at})
	}
}
