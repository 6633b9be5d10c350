package libcontainer

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/process"
)

// Command is what the command line of exec changes of the container's own
// process.
type Command struct {
	Args            []string
	Terminal        bool
	Cwd             string   // "" keeps it
	Env             []string // added, winning
	User            *string  // USER[:GROUP], names or numbers; nil keeps it
	AdditionalGids  []uint32 // added
	Caps            []string // added
	ApparmorProfile string   // "" keeps it
	SelinuxLabel    string   // "" keeps it
	NoNewPrivileges bool     // true sets it
}

var errNoArgs = &fault.Error{Op: "exec", Msg: "process args cannot be empty", Code: "usage",
	Hint: "give the command behind the container's ID, or --process FILE"}

// change makes the container's process, of which p is a copy, the one that is
// asked for. rootfs is a path to the container's root.
func (c Command) change(p *specs.Process, rootfs string) (err error) {
	p.Args, p.Terminal = c.Args, c.Terminal
	p.Env = append(slices.Clip(p.Env), c.Env...)
	set(&p.Cwd, c.Cwd)
	set(&p.ApparmorProfile, c.ApparmorProfile)
	set(&p.SelinuxLabel, c.SelinuxLabel)
	p.NoNewPrivileges = p.NoNewPrivileges || c.NoNewPrivileges
	if c.User != nil {
		if p.User, err = process.LookupUser(rootfs, *c.User, p.User); err != nil {
			return err
		}
	}
	p.User.AdditionalGids = append(slices.Clip(p.User.AdditionalGids), c.AdditionalGids...)
	if len(c.Caps) > 0 {
		p.Capabilities = withCaps(p.Capabilities, c.Caps)
	}
	return nil
}

func set(field *string, value string) {
	if value != "" {
		*field = value
	}
}

// withCaps adds names to the sets, but never to the inheritable one
// (CVE-2022-29162); so they become ambient only where they were inheritable
// before.
func withCaps(have *specs.LinuxCapabilities, names []string) *specs.LinuxCapabilities {
	var out specs.LinuxCapabilities
	if have != nil {
		out = *have
	}
	add := func(list *[]string, names ...string) { *list = append(slices.Clip(*list), names...) }
	add(&out.Bounding, names...)
	add(&out.Permitted, names...)
	add(&out.Effective, names...)
	for _, name := range names {
		if slices.Contains(out.Inheritable, name) {
			add(&out.Ambient, name)
		}
	}
	return &out
}

// processFrom reads the process of exec --process. Where it says nothing of
// capabilities, labels or scheduling, it has the container's own, as
// with runc.
func processFrom(path string, own *specs.Process) (*specs.Process, error) {
	p, err := bundle.LoadProcess(path)
	if err != nil {
		return nil, err
	}
	inherit(&p.Capabilities, own.Capabilities)
	inherit(&p.OOMScoreAdj, own.OOMScoreAdj)
	inherit(&p.Scheduler, own.Scheduler)
	inherit(&p.IOPriority, own.IOPriority)
	inherit(&p.ExecCPUAffinity, own.ExecCPUAffinity)
	if p.ApparmorProfile == "" {
		p.ApparmorProfile = own.ApparmorProfile
	}
	if p.SelinuxLabel == "" {
		p.SelinuxLabel = own.SelinuxLabel
	}
	return p, nil
}

func inherit[T any](field **T, own *T) {
	if *field == nil {
		*field = own
	}
}
