package intelrdt

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// State is what has to be known of a container's groups later on; it is kept
// in state.json. The zero State is a container without any.
type State struct {
	// Tasks are the groups whose tasks files take the container's processes, in
	// this order.
	Tasks []string `json:"tasks,omitempty"`
	// Remove are the groups that end with the container.
	Remove []string `json:"remove,omitempty"`
	// Shared is a group that create makes for others, too: it goes only when
	// create fails, and nobody else is in it.
	Shared string `json:"shared,omitempty"`
}

// Tests put a kernel of their own here, which fills a new group with files.
var mkdir, rmdir = unix.Mkdir, unix.Rmdir

// Claim finds what would keep the group from being used, before anything is
// made, and says what will be.
func (p *Plan) Claim() (State, error) {
	if p == nil {
		return State{}, nil
	}
	s := State{Tasks: []string{p.Group}}
	there, err := exists(p.Group)
	switch {
	case err != nil:
		return State{}, p.fail(err, "stat", p.Group, p.groupField())
	case there && p.Need == Own:
		return State{}, p.fail(unix.EEXIST, "make resctrl group", p.Group, p.groupField())
	case !there && p.Need == Existing:
		return State{}, p.fail(unix.ENOENT, "find resctrl group", p.Group, p.groupField())
	case there && p.Need == Shared:
		if err := p.match(); err != nil {
			return State{}, err
		}
	case p.Need == Shared:
		s.Shared = p.Group
	}
	if p.Monitor != "" {
		if there, _ := exists(p.Monitor); there {
			return State{}, p.fail(unix.EEXIST, "make resctrl group", p.Monitor, field.At("enableMonitoring"))
		}
		s.Tasks, s.Remove = append(s.Tasks, p.Monitor), append(s.Remove, p.Monitor)
	}
	if p.Need == Own {
		s.Remove = append(s.Remove, p.Group)
	}
	return s, nil
}

func exists(dir string) (bool, error) {
	err := unix.Access(dir, unix.F_OK)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// Apply makes the groups and puts process pid in them. What is made is what
// Claim has said; Remove takes it back.
func (p *Plan) Apply(pid int) error {
	if p == nil {
		return nil
	}
	if err := p.control(); err != nil {
		return err
	}
	if err := p.write(p.Group, "tasks", strconv.Itoa(pid), p.groupField()); err != nil {
		return err
	}
	if p.Monitor == "" {
		return nil
	}
	monitoring := field.At("enableMonitoring")
	if err := mkdir(p.Monitor, 0o755); err != nil {
		return p.refused(err, "make resctrl group", p.Monitor, monitoring)
	}
	return p.write(p.Monitor, "tasks", strconv.Itoa(pid), monitoring)
}

// control makes the control group and writes its schemata, where it is not
// there.
func (p *Plan) control() error {
	if p.Need == Existing {
		return nil
	}
	err := mkdir(p.Group, 0o755)
	if errors.Is(err, unix.EEXIST) && p.Need == Shared {
		return p.match()
	}
	if err != nil {
		return p.refused(err, "make resctrl group", p.Group, p.groupField())
	}
	for _, s := range p.Schemata {
		if err := p.write(p.Group, "schemata", s.Line, s.Field); err != nil {
			return err
		}
	}
	return nil
}

// match holds the group that is there to the schemata that are wanted.
func (p *Plan) match() error {
	name := path.Join(p.Group, "schemata")
	text, err := host.ReadFile(name)
	if err != nil {
		return p.fail(err, "read", name, p.groupField())
	}
	for _, s := range p.Schemata {
		if !holds(string(text), s.Line, p.bandwidthStep()) {
			return &fault.Error{Op: "find resctrl group", Path: p.Group, Field: s.Field, Code: "schemata-differ", Phase: fault.PhaseCgroup,
				Msg:  "it is there with other schemata: " + strings.Join(strings.Fields(string(text)), " "),
				Hint: "use another closID, or leave the schemata out to use the group as it is"}
		}
	}
	return nil
}

// bandwidthStep is the granularity of memory bandwidth, 0 where it is unknown.
func (p *Plan) bandwidthStep() uint64 {
	text, _ := host.ReadFile(path.Join(p.Root, "info/MB/bandwidth_gran"))
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	return n
}

// write puts one line into a group's file.
func (p *Plan) write(group, name, line string, field fault.Pointer) error {
	name = path.Join(group, name)
	if err := writeLine(name, line); err != nil {
		return p.refused(err, "write "+strconv.Quote(line)+" to", name, field)
	}
	return nil
}

func writeLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	return err
}

func (p *Plan) fail(err error, op, name string, field fault.Pointer) *fault.Error {
	e := fault.From(err, op, name).For(field).In(fault.PhaseCgroup)
	e.Hint = hint(op, e.Errno)
	return e
}

// refused is fail with what resctrl says about the last command.
func (p *Plan) refused(err error, op, name string, field fault.Pointer) *fault.Error {
	e := p.fail(err, op, name, field)
	text, _ := host.ReadFile(path.Join(p.Root, "info/last_cmd_status"))
	if said := strings.TrimSpace(string(text)); said != "ok" {
		e.Msg = said
	}
	return e
}

// Add puts one more process of the container into its groups.
func (s State) Add(pid int) error {
	for _, dir := range s.Tasks {
		name := path.Join(dir, "tasks")
		if err := writeLine(name, strconv.Itoa(pid)); err != nil {
			return fault.From(err, "write", name).For(field).In(fault.PhaseCgroup)
		}
	}
	return nil
}

// Delete removes what create has made: all of it where the container was never
// finished, else what ends with it. What is gone is no error.
func (s State) Delete() error {
	for _, dir := range s.Remove {
		if err := remove(dir); err != nil {
			return err
		}
	}
	if s.Shared == "" {
		return nil
	}
	if tasks, err := host.ReadFile(path.Join(s.Shared, "tasks")); err != nil || len(tasks) > 0 {
		return nil // another container has come to use it
	}
	return remove(s.Shared)
}

func remove(dir string) error {
	if err := rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fault.From(err, "remove resctrl group", dir).For(field).In(fault.PhaseCgroup)
	}
	return nil
}
