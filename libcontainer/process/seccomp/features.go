package seccomp

import (
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

// Version is the version of libseccomp that is linked in, such as "2.5.4".
func Version() string {
	major, minor, micro := libseccomp.GetLibraryVersion()
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}

// Actions lists the actions that Compile takes, as `features` prints them.
func Actions() []string {
	return known([]specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActLog, specs.ActNotify, specs.ActTrace, specs.ActTrap,
	}, func(a specs.LinuxSeccompAction) bool { _, ok := actions(a); return ok })
}

// Operators lists the comparisons of arguments.
func Operators() []string {
	return known([]specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual,
		specs.OpLessThan, specs.OpMaskedEqual, specs.OpNotEqual,
	}, operator)
}

// Archs lists the architectures that libseccomp has of the specification's.
func Archs() []string {
	return known([]specs.Arch{
		specs.ArchAARCH64, specs.ArchARM, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
		specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPARISC, specs.ArchPARISC64,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchRISCV64, specs.ArchS390, specs.ArchS390X,
		specs.ArchX32, specs.ArchX86, specs.ArchX86_64,
		specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
	}, func(a specs.Arch) bool { arch, ok := architecture(a); return ok && inLibrary(arch) })
}

// inLibrary tells whether the library that is linked in has the architecture.
// One of the other byte order it has, and does not mix with the machine's own.
func inLibrary(arch libseccomp.ScmpArch) bool {
	filter, err := libseccomp.NewFilter(libseccomp.ActAllow)
	if err != nil {
		return false
	}
	defer filter.Release()
	err = filter.AddArch(arch)
	return err == nil || errors.Is(err, unix.EDOM)
}

// Flags lists the flags that Compile takes.
func Flags() []string {
	return []string{
		string(specs.LinuxSeccompFlagLog), string(specs.LinuxSeccompFlagSpecAllow),
		"SECCOMP_FILTER_FLAG_TSYNC", string(specs.LinuxSeccompFlagWaitKillableRecv),
	}
}

// SupportedFlags lists those of Flags that have their effect on a kernel.
func SupportedFlags(kernel host.Version) []string {
	return slices.DeleteFunc(Flags(), func(f string) bool {
		return f == string(specs.LinuxSeccompFlagWaitKillableRecv) && !kernel.AtLeast(5, 19)
	})
}

func known[T ~string](all []T, ok func(T) bool) []string {
	var out []string
	for _, name := range all {
		if ok(name) {
			out = append(out, string(name))
		}
	}
	return out
}
