// Package intelrdt puts a container into a group of resctrl, which shares out
// a processor's caches and memory bandwidth (config-linux.md, IntelRdt;
// Documentation/filesystems/resctrl.rst of the kernel).
package intelrdt

import (
	"fmt"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

const field = fault.Pointer("/linux/intelRdt")

// Plan is the group that a container is to be in.
type Plan struct {
	Root     string   `json:"root"`  // where resctrl is mounted
	Group    string   `json:"group"` // directory of the control group
	Need     Need     `json:"need"`
	Schemata []Schema `json:"schemata,omitempty"` // in the order in which they are written
	Monitor  string   `json:"monitor,omitempty"`  // directory of the monitoring group, which is made
}

// Need says whether the control group may be there already.
type Need string

const (
	// Own is a group of the container's own: made, and removed with it.
	Own Need = "own"
	// Shared is made where it is missing, and must have the schemata where it
	// is not. It stays.
	Shared Need = "shared"
	// Existing must be there.
	Existing Need = "existing"
)

// Schema is one line for a group's schemata.
type Schema struct {
	Line  string        `json:"line"`
	Field fault.Pointer `json:"field"`
}

// NewPlan decides from /linux/intelRdt; no such entry is no plan. What is
// wrong with its strings as such is package bundle's to say.
func NewPlan(spec *specs.Spec, id string, facts host.Facts) (*Plan, fault.List) {
	if spec.Linux == nil || spec.Linux.IntelRdt == nil {
		return nil, nil
	}
	if facts.Resctrl == "" {
		return nil, fault.List{{Op: "resctrl", Field: field, Code: "no-resctrl", Phase: fault.PhasePlan,
			Msg: noResctrl, Hint: hintResctrl}}
	}
	rdt := spec.Linux.IntelRdt
	p := &Plan{Root: facts.Resctrl, Schemata: schemata(rdt)}
	switch {
	case rdt.ClosID == "":
		p.Need, p.Group = Own, path.Join(p.Root, id)
	case len(p.Schemata) > 0:
		p.Need, p.Group = Shared, path.Join(p.Root, rdt.ClosID)
	default:
		p.Need, p.Group = Existing, path.Join(p.Root, rdt.ClosID)
	}
	if rdt.EnableMonitoring {
		p.Monitor = path.Join(p.Group, "mon_groups", id)
	}
	return p, nil
}

// schemata is in the order that config-linux.md wants.
func schemata(rdt *specs.LinuxIntelRdt) []Schema {
	var out []Schema
	if rdt.L3CacheSchema != "" {
		out = append(out, Schema{rdt.L3CacheSchema, field.At("l3CacheSchema")})
	}
	if rdt.MemBwSchema != "" {
		out = append(out, Schema{rdt.MemBwSchema, field.At("memBwSchema")})
	}
	for i, line := range rdt.Schemata {
		out = append(out, Schema{line, field.At("schemata").Index(i)})
	}
	return out
}

// Lines is the plan for people.
func (p *Plan) Lines() []string {
	if p == nil {
		return nil
	}
	what := map[Need]string{Own: "make", Shared: "make, or find with these schemata,", Existing: "find"}
	out := []string{fmt.Sprintf("%s group %s   # %s", what[p.Need], p.Group, p.groupField())}
	for _, s := range p.Schemata {
		out = append(out, fmt.Sprintf("schemata %s   # %s", s.Line, s.Field))
	}
	if p.Monitor != "" {
		out = append(out, fmt.Sprintf("make group %s   # %s", p.Monitor, field.At("enableMonitoring")))
	}
	return out
}

// groupField is the entry that names the control group.
func (p *Plan) groupField() fault.Pointer {
	if p.Need == Own {
		return field
	}
	return field.At("closID")
}
