package intelrdt

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// SetSchemata writes the schemas of change to the container's group, in the
// order of a creation. back writes those it held before; it is to be called
// where anything fails, this too.
func (s State) SetSchemata(change *specs.LinuxIntelRdt, facts host.Facts) (back func() error, err error) {
	back = func() error { return nil }
	lines := schemata(change)
	if len(lines) == 0 {
		return back, nil
	}
	if err := s.canSet(lines[0].Field, facts); err != nil {
		return back, err
	}
	p := &Plan{Root: facts.Resctrl, Group: s.Tasks[0]}
	name := path.Join(p.Group, "schemata")
	before, err := host.ReadFile(name)
	if err != nil {
		return back, p.fail(err, "read", name, lines[0].Field)
	}
	back = func() error { return p.restore(string(before), lines) }
	for _, l := range lines {
		if err := p.write(p.Group, "schemata", l.Line, l.Field); err != nil {
			return back, err
		}
	}
	return back, nil
}

// canSet finds what keeps a container from having schemata of its own.
func (s State) canSet(at fault.Pointer, facts host.Facts) error {
	e := &fault.Error{Op: "resctrl", Field: at, Phase: fault.PhasePlan}
	switch {
	case facts.Resctrl == "":
		e.Code, e.Msg, e.Hint = "no-resctrl", noResctrl, hintResctrl
	case len(s.Tasks) == 0:
		e.Code, e.Msg = "no-resctrl-group", "the container has no group of resctrl"
		e.Hint = "create it with linux.intelRdt in config.json; an empty object is enough"
	case s.Tasks[0] == facts.Resctrl:
		e.Code, e.Msg = "no-resctrl-group", "the container is in the group of all that have none"
		e.Hint = "create it with another linux.intelRdt.closID, or change the schemata of " + facts.Resctrl + " itself"
	default:
		return nil
	}
	return e
}

// restore writes the lines of a schemata file that are of the changed kinds.
func (p *Plan) restore(before string, changed []Schema) error {
	for _, c := range changed {
		kind, _ := domains(c.Line)
		for line := range strings.Lines(before) {
			if k, _ := domains(line); k != kind {
				continue
			}
			if err := p.write(p.Group, "schemata", strings.TrimSpace(line), c.Field); err != nil {
				return err
			}
		}
	}
	return nil
}
