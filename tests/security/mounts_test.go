package security

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A shared volume's directory is exchanged with a link to the host while mounts are added to a container that runs, and
// removed from it: they come to be below its root, and nothing of the host's is unmounted.
//
//cve:2021-30465
func TestMountsAddRace(t *testing.T) {
	l := start(t, "mounts-add-race")
	const each = 10
	vol := l.volume(l.host("dir"))
	l.must(os.Mkdir(filepath.Join(vol, "d/sub"), 0o755))
	l.must(os.Mkdir(l.host("dir/sub"), 0o755))
	l.must(os.WriteFile(l.host("dir/sub/secret"), []byte("the host's own\n"), 0o600))
	l.before = l.canary()
	l.pausing("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		bind(s, vol, "/vol")
	})
	entry := `{"destination": "/vol/d/sub", "type": "tmpfs", "source": "race"}`
	file := l.path("mounts.json")
	l.must(os.WriteFile(file, []byte("["+strings.Repeat(entry+",", each-1)+entry+"]"), 0o644))
	one := l.path("one.json")
	l.must(os.WriteFile(one, []byte("["+entry+"]"), 0o644))
	l.exchanging(vol, "d", "evil")
	var o outcome
	mounted := 0
	l.race(func() int {
		r := l.berth("mounts", "add", l.name("b"), file)
		if o.add(r); r.status == 0 {
			mounted += each
		}
		if r := l.berth("mounts", "remove", l.name("b"), one); r.status == 0 {
			mounted--
		}
		there := l.exec("b", nil, "sh", "-c", "cat /vol/*/sub/secret /vol/*/secret "+l.host("secret")+" 2>/dev/null; grep -c ' race ' /proc/self/mountinfo")
		if strings.Contains(there.out, "the host's own") {
			l.Errorf("the host can be seen: %v", there)
		}
		if there.out != fmt.Sprintln(mounted) {
			l.Fatalf("not %d mounts are below the root: %v", mounted, there)
		}
		return each
	})
	l.Log(o)
}
