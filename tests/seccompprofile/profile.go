// Package seccompprofile turns the seccomp profiles that container managers ship into what they hand to a runtime.
//
// The format is that of Moby and of containers/common (documented in containers-common's seccomp.json(5) and in
// Moby's profiles/seccomp): the OCI one, with conditions that a manager resolves for each container.
package seccompprofile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

type profile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	DefaultErrno     string                   `json:"defaultErrno"`
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []archFamily             `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []rule                   `json:"syscalls"`
}

type archFamily struct {
	Arch    specs.Arch   `json:"architecture"`
	SubArch []specs.Arch `json:"subArchitectures"`
}

type rule struct {
	Name     string                   `json:"name"`
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Errno    string                   `json:"errno"`
	Args     []specs.LinuxSeccompArg  `json:"args"`
	Includes condition                `json:"includes"`
	Excludes condition                `json:"excludes"`
}

// A condition holds for some architectures (in GOARCH's words), capabilities and kernels ("5.10").
type condition struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// A Target is the container that conditions are resolved for.
type Target struct {
	Arch   string   // as in GOARCH
	Caps   []string // the container's bounding set, "CAP_KILL"
	Kernel string   // release, as uname(2) gives it
}

// FromContainersJSON resolves a profile for a container with these capabilities on this kernel.
// arch is as in GOARCH. A profile that names both a fixed list and a map of architectures is refused.
func FromContainersJSON(text []byte, arch string, caps []string) (*specs.LinuxSeccomp, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	return Resolve(text, Target{Arch: arch, Caps: caps, Kernel: unix.ByteSliceToString(uname.Release[:])})
}

// Resolve is FromContainersJSON for any target; it asks the machine nothing.
func Resolve(text []byte, target Target) (*specs.LinuxSeccomp, error) {
	var p profile
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	architectures, err := p.architectures(target.Arch)
	if err != nil {
		return nil, err
	}
	errno, err := errnoRet(p.DefaultErrno, p.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("defaultErrno: %w", err)
	}
	syscalls, err := resolveRules(p.Syscalls, target)
	if err != nil {
		return nil, err
	}
	return &specs.LinuxSeccomp{
		DefaultAction: p.DefaultAction, DefaultErrnoRet: errno, Architectures: architectures, Flags: p.Flags,
		ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata, Syscalls: syscalls,
	}, nil
}

func (p *profile) architectures(arch string) ([]specs.Arch, error) {
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return nil, errors.New("seccomp profile: architectures and archMap exclude each other")
	}
	for _, family := range p.ArchMap {
		if family.Arch == nativeArch(arch) {
			return append([]specs.Arch{family.Arch}, family.SubArch...), nil
		}
	}
	return p.Architectures, nil
}

// nativeArch gives libseccomp's name of a GOARCH, "" if it has none here.
func nativeArch(arch string) specs.Arch {
	switch arch {
	case "386":
		return specs.ArchX86
	case "amd64":
		return specs.ArchX86_64
	case "arm":
		return specs.ArchARM
	case "arm64":
		return specs.ArchAARCH64
	case "loong64":
		return specs.ArchLOONGARCH64
	case "mips64":
		return specs.ArchMIPS64
	case "mips64le":
		return specs.ArchMIPSEL64
	case "ppc64le":
		return specs.ArchPPC64LE
	case "riscv64":
		return specs.ArchRISCV64
	case "s390x":
		return specs.ArchS390X
	}
	return ""
}

func resolveRules(rules []rule, target Target) ([]specs.LinuxSyscall, error) {
	var out []specs.LinuxSyscall
	for i, r := range rules {
		wanted, err := r.appliesTo(target)
		if err != nil {
			return nil, fmt.Errorf("/syscalls/%d: %w", i, err)
		}
		if !wanted {
			continue
		}
		resolved, err := r.resolve()
		if err != nil {
			return nil, fmt.Errorf("/syscalls/%d: %w", i, err)
		}
		out = append(out, resolved)
	}
	return out, nil
}

// appliesTo: all of "includes" have to hold, and nothing of "excludes".
func (r *rule) appliesTo(target Target) (bool, error) {
	newEnough, err := target.kernelAtLeast(r.Includes.MinKernel)
	if err != nil {
		return false, err
	}
	excluded, err := r.Excludes.excludes(target)
	if err != nil || excluded {
		return false, err
	}
	right := len(r.Includes.Arches) == 0 || slices.Contains(r.Includes.Arches, target.Arch)
	for _, c := range r.Includes.Caps {
		right = right && slices.Contains(target.Caps, c)
	}
	return right && newEnough, nil
}

func (c condition) excludes(target Target) (bool, error) {
	for _, name := range c.Caps {
		if slices.Contains(target.Caps, name) {
			return true, nil
		}
	}
	if slices.Contains(c.Arches, target.Arch) {
		return true, nil
	}
	if c.MinKernel == "" {
		return false, nil
	}
	return target.kernelAtLeast(c.MinKernel)
}

func (r *rule) resolve() (specs.LinuxSyscall, error) {
	names := r.Names
	switch {
	case r.Name != "" && len(r.Names) > 0:
		return specs.LinuxSyscall{}, errors.New("name and names exclude each other")
	case r.Name != "":
		names = []string{r.Name}
	}
	errno, err := errnoRet(r.Errno, r.ErrnoRet)
	return specs.LinuxSyscall{Names: names, Action: r.Action, ErrnoRet: errno, Args: r.Args}, err
}

// kernelAtLeast compares major and minor numbers; the empty version is always reached.
func (t Target) kernelAtLeast(version string) (bool, error) {
	if version == "" {
		return true, nil
	}
	wantMajor, wantMinor, err := parseKernel(version)
	if err != nil {
		return false, err
	}
	major, minor, err := parseKernel(t.Kernel)
	return major > wantMajor || major == wantMajor && minor >= wantMinor, err
}

// parseKernel reads the first two numbers of a release such as "6.1.0-17-amd64".
func parseKernel(release string) (major, minor int, err error) {
	first, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	if major, err = strconv.Atoi(first); err == nil {
		minor, err = strconv.Atoi(rest)
	}
	if err != nil {
		err = fmt.Errorf("kernel version %q is not like 5.10", release)
	}
	return major, minor, err
}

// errnoRet prefers the errno's name to its number, because names mean the same on every architecture.
func errnoRet(name string, number *uint) (*uint, error) {
	if name == "" {
		return number, nil
	}
	for n := uint(1); n < 256; n++ {
		if unix.ErrnoName(unix.Errno(n)) == name {
			return &n, nil
		}
	}
	return nil, fmt.Errorf("unknown errno %q", name)
}
