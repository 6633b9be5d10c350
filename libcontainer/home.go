package libcontainer

import (
	"strings"

	"berth/libcontainer/bundle"
	"berth/libcontainer/process"
)

// HomeVariable is HOME from the container's /etc/passwd where process.env has
// none, as users of runc expect.
func HomeVariable(b *bundle.Bundle) []string {
	p := b.Spec.Process
	if p == nil || b.Spec.Root == nil {
		return nil
	}
	for _, e := range p.Env {
		if strings.HasPrefix(e, "HOME=") {
			return nil
		}
	}
	return []string{"HOME=" + process.Home(rootfsPath(b), p.User.UID)}
}
