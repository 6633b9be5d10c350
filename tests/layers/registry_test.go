package layers

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/tests/layers/stack"
)

// registry serves an image layout, and holds the first request for its large blob up in the middle.
type registry struct {
	dir   string
	hold  atomic.Bool
	held  chan struct{}
	bytes atomic.Int64 // of large blobs, as they were asked for
	asked []string     // ranges
}

const large = 1 << 20

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	which := filepath.Base(q.URL.Path)
	switch {
	case q.URL.Path == "/v2/":
		return
	case which == "latest":
		index, err := os.ReadFile(r.dir + "/index.json")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, rest, _ := strings.Cut(string(index), `"digest":"`)
		which, _, _ = strings.Cut(rest, `"`)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "blobs/sha256", strings.TrimPrefix(which, "sha256:")))
	if err != nil {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Docker-Content-Digest", which)
	if strings.Contains(q.URL.Path, "/manifests/") {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	}
	if len(data) < large {
		w.Write(data)
		return
	}
	if r.hold.Swap(false) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		n, _ := w.Write(data[:len(data)/2])
		r.bytes.Add(int64(n))
		w.(http.Flusher).Flush()
		close(r.held)
		<-q.Context().Done()
		return
	}
	r.asked = append(r.asked, q.Header.Get("Range"))
	http.ServeContent(counter{w, &r.bytes}, q, "", time.Time{}, bytes.NewReader(data))
}

type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// A pull that is interrupted ends with 130, has given nothing a name, and the next one goes on where it was: no byte is
// sent twice. The same holds where it is killed.
func TestInterrupted(t *testing.T) {
	needRoot(t)
	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, t.TempDir())
			noise := make([]byte, 3*large)
			for n := range noise {
				noise[n] = byte(rand.Uint32())
			}
			image := stack.Stack{{Words: []string{"gzip"}, Members: []stack.Line{{Verb: "file", Args: []string{"noise", string(noise)}}}}}
			if err := image.WriteLayout(s.path("noise"), nil); err != nil {
				t.Fatal(err)
			}
			r := &registry{dir: s.path("noise"), held: make(chan struct{})}
			r.hold.Store(true)
			web := httptest.NewServer(r)
			defer web.Close()
			source := "docker://" + web.Listener.Addr().String() + "/it"
			cmd := s.command(nil, "pull", source, "it")
			go func() {
				<-r.held
				time.Sleep(300 * time.Millisecond) // what was sent arrives
				cmd.Process.Signal(signal)
			}()
			o := s.finish(cmd)
			if status := map[bool]int{true: -1, false: 130}[signal == syscall.SIGKILL]; o.status != status {
				t.Errorf("status %d: %s", o.status, o.err)
			}
			if got := s.images(); len(got) > 0 {
				t.Errorf("there is %q", got)
			}
			if signal == syscall.SIGKILL {
				s.faults("--repair")
			}
			s.clean()
			s.run("pull", source, "it")
			total := r.bytes.Load()
			info, err := os.Stat(biggest(t, s.path("noise/blobs/sha256")))
			if err != nil {
				t.Fatal(err)
			}
			if total > info.Size()+256<<10 {
				t.Errorf("%d bytes were sent of %d; ranges %q", total, info.Size(), r.asked)
			}
			t.Logf("%d of %d bytes, ranges %q", total, info.Size(), r.asked)
			s.clean()
		})
	}
}

func biggest(t *testing.T, dir string) string {
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	best, size := "", int64(0)
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > size {
			best, size = f, info.Size()
		}
	}
	return best
}
