package libcontainer

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/host"
)

// Where facts and kernel disagree about a security module, the step that
// writes the label fails by the entry's name, and nothing is left: no process
// ever runs without the label that it was to have.
//
//spec:26,27,81
func TestLabelsAreNeverForgotten(t *testing.T) {
	needRoot(t)
	if real := host.ProbeLSM(); real.AppArmor || real.SELinux {
		t.Skip("[no-lsm] needs a kernel without AppArmor and SELinux in use")
	}
	for field, change := range map[string]func(*specs.Spec){
		"/process/apparmorProfile": func(s *specs.Spec) { s.Process.ApparmorProfile = "berth-test" },
		"/process/selinuxLabel":    func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:container_t:s0" },
		"/linux/mountLabel":        func(s *specs.Spec) { s.Linux.MountLabel = "system_u:object_r:container_file_t:s0" },
	} {
		dir, root := testBundle(t, change), t.TempDir()
		opt := testOptions(root, dir, "labels")
		opt.test.facts = func(f *host.Facts) { f.LSM = host.LSM{AppArmor: true, SELinux: true} }
		_, _, err := Create(opt)
		if err == nil || !strings.Contains(err.Error(), "config.json "+field) {
			t.Errorf("%s: %v", field, err)
		}
		if left, _ := os.ReadDir(root); len(left) > 1 { // the cache of filters may be there
			t.Errorf("%s: %v", field, left)
		}
		if after := look(t, dir, "labels"); len(after.mounts)+len(after.groups) > 0 {
			t.Errorf("%s: left %+v", field, after)
		}
	}
}
