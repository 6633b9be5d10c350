package layers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Errors that one process may get because another was faster.
var raced = []string{"there is none of that name or ID", "not one of this store's", "it is there already", "more than one ID"}

// Ten processes do whatever they like with one store. None fails but because of what another has removed or made, and in
// the end nothing is lost and nothing is left.
func TestConcurrent(t *testing.T) {
	needRoot(t)
	for _, backend := range []string{"dir", "erofs"} {
		t.Run(backend, func(t *testing.T) {
			if ok, _ := condition(backend); backend == "erofs" && !ok {
				t.Skip("[erofs] of files")
			}
			s := newStore(t, t.TempDir())
			defer unmountBelow(s.dir)
			end := time.Now().Add(1500 * time.Millisecond)
			var all sync.WaitGroup
			for n := range 10 {
				all.Go(func() { s.anything(n, backend, end) })
			}
			all.Wait()
			s.clean()
			s.run("pull", "--backend", backend, "oci:app", "app")
			s.clean()
			for n := range 3 {
				s.try("rm", fmt.Sprintf("bundle%d", n))
			}
			s.unmounted()
			s.empty()
		})
	}
}

// anything runs commands until the end.
func (s *store) anything(n int, backend string, end time.Time) {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	done := 0
	for ; time.Now().Before(end); done++ {
		bundle, name := fmt.Sprintf("bundle%d", random.IntN(3)), fmt.Sprintf("new%d", random.IntN(3))
		commands := [][]string{
			{"pull", "--backend", backend, "oci:app", "app"}, {"pull", "--backend", backend, "oci:base", "base"},
			{"create", "app", bundle}, {"create", "--form", "in-config", "app", bundle}, {"commit", bundle, name}, {"rm", bundle},
			{"rmi", "app"}, {"rmi", "base"}, {"rmi", name}, {"prune"}, {"tag", "base", name}, {"images"}, {"df"}, {"mount", bundle}, {"diff", bundle},
		}
		args := commands[random.IntN(len(commands))]
		if backend == "erofs" && args[0] == "create" {
			args = commands[2]
		}
		if o := s.try(args...); o.status != 0 && !expected(args, o.err) {
			s.t.Errorf("%q: %d %s", args, o.status, o.err)
		}
	}
	s.t.Logf("process %d ran %d commands", n, done)
}

func expected(args []string, text string) bool {
	for _, why := range raced {
		if strings.Contains(text, why) {
			return true
		}
	}
	return args[0] == "mount" && strings.Contains(text, "its overlay is in config.json")
}
