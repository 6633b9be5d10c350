package manifest

import (
	"runtime"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
)

// Host is the platform of this machine.
func Host() v1.Platform { return v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH} }

// ParsePlatform reads OS/ARCHITECTURE[/VARIANT]; "" is the host's.
func ParsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return Host(), nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return v1.Platform{}, &fault.Error{Op: "parse platform", Path: s, Msg: "not OS/ARCHITECTURE[/VARIANT]", Hint: "for example linux/arm64 or linux/arm/v7"}
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return normal(p), nil
}

// normal writes a platform as Go does: aarch64 is arm64, x86_64 is amd64, and a variant that goes without saying is
// left out.
func normal(p v1.Platform) v1.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i486", "i586", "i686":
		p.Architecture, p.Variant = "386", ""
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8", "arm64/v8.0":
		p.Variant = ""
	case "arm/":
		p.Variant = "v7"
	}
	return p
}

// variants lists what runs where p is wanted, the best first: an ARM processor runs programs of the versions before.
func variants(p v1.Platform) []string {
	known := []string{"v8", "v7", "v6", "v5"}
	if i := slices.Index(known, p.Variant); p.Architecture == "arm" && i >= 0 {
		return known[i:]
	}
	if p.Variant != "" {
		return []string{p.Variant, ""}
	}
	return []string{""}
}

// Choose returns the entry of an index for platform want. An entry that says no platform is taken where it is the only
// manifest. The error lists what there is.
func Choose(entries []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	want = normal(want)
	var silent []v1.Descriptor
	for _, variant := range variants(want) {
		for _, d := range entries {
			if d.Platform == nil {
				continue
			}
			p := normal(*d.Platform)
			if p.OS == want.OS && p.Architecture == want.Architecture && p.Variant == variant {
				return d, nil
			}
		}
	}
	for _, d := range entries {
		if d.Platform == nil {
			silent = append(silent, d)
		}
	}
	if len(silent) == 1 && len(entries) == 1 {
		return silent[0], nil
	}
	return v1.Descriptor{}, &fault.Error{Op: "choose platform", Path: PlatformString(want), Msg: "the index has " + list(entries),
		Hint: "choose one with --platform", Code: "no-platform"}
}

func list(entries []v1.Descriptor) string {
	var names []string
	for _, d := range entries {
		name := "a manifest of no platform"
		if d.Platform != nil {
			name = PlatformString(*d.Platform)
		}
		if name != "unknown/unknown" && !slices.Contains(names, name) { // buildkit's attestations
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no image"
	}
	return strings.Join(names[:min(len(names), 40)], ", ")
}

// PlatformString returns OS/ARCHITECTURE[/VARIANT].
func PlatformString(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
