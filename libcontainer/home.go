package libcontainer

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/process"
	"berth/rootfs"
)

// HomeVariable is HOME from the container's /etc/passwd where process.env has
// none, as users of runc expect.
func HomeVariable(b *bundle.Bundle) []string {
	if b.Spec.Process == nil || b.Spec.Root == nil {
		return nil
	}
	return homeVariable(b.Spec.Process, rootfs.RootLayers(b.Spec, b.Dir)...)
}

func homeVariable(p *specs.Process, roots ...string) []string {
	for _, e := range p.Env {
		if strings.HasPrefix(e, "HOME=") {
			return nil
		}
	}
	return []string{"HOME=" + process.Home(p.User.UID, roots...)}
}
