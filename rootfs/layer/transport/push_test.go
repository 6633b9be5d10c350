package transport_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	memoryregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/registry"
)

// TestPushAndPull against go-containerregistry's registry: an index, its images, the tag.
func TestPushAndPull(t *testing.T) {
	web := httptest.NewServer(memoryregistry.New(memoryregistry.Logger(log.New(io.Discard, "", 0))))
	defer web.Close()
	at := "docker://" + web.Listener.Addr().String() + "/some/name"
	m := newImage()
	m.index(t, m.image(t, &v1.Platform{OS: "linux", Architecture: "arm64"}, []byte("arm")),
		m.image(t, &v1.Platform{OS: "linux", Architecture: "amd64"}, noise(1, 100), noise(2, 3<<20)))
	for _, chunk := range []int64{0, 1 << 20} {
		o := quick
		o.Registry.ChunkSize = chunk
		push(t, m, at+fmt.Sprint(chunk)+":tag", o)
		for _, name := range []string{":tag", "@" + string(m.root.Digest)} {
			got, err := pull(t, at+fmt.Sprint(chunk)+name, o)
			if err != nil {
				t.Fatal(err)
			}
			same(t, m, got)
		}
	}
	if err := copyTo(t, memory{m}, at+"@"+string(digest.FromString("x")), quick); err == nil || !strings.Contains(err.Error(), "the image has digest") {
		t.Error(err)
	}
	if _, err := pull(t, at+":other", quick); err == nil || !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
		t.Error(err)
	}
}

// taker is a registry that only takes blobs, as the distribution specification says.
type taker struct {
	mu       sync.Mutex
	parts    map[string][]byte // by session
	blobs    map[digest.Digest][]byte
	others   map[string]bool // "repository digest" that can be mounted
	requests []string
	sizes    []int64 // of bodies
	statuses bool    // it can say how much has come
	n        int
	// do answers in the place of the registry if it returns true.
	do func(w http.ResponseWriter, r *http.Request, n int) bool
}

func newTaker(t *testing.T) (*taker, string) {
	s := &taker{parts: map[string][]byte{}, blobs: map[digest.Digest][]byte{}, others: map[string]bool{}, statuses: true}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, "docker://" + web.Listener.Addr().String() + "/it"
}

func (s *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, r.Method)
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.do != nil && s.do(w, r, n) {
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/v2/it/blobs/uploads/")
	switch r.Method {
	case http.MethodHead:
		if _, ok := s.blobs[digest.Digest(strings.TrimPrefix(r.URL.Path, "/v2/it/blobs/"))]; !ok {
			w.WriteHeader(http.StatusNotFound)
		}
	case http.MethodPost:
		q := r.URL.Query()
		if s.others[q.Get("from")+" "+q.Get("mount")] {
			s.blobs[digest.Digest(q.Get("mount"))] = nil
			w.WriteHeader(http.StatusCreated)
			return
		}
		s.parts[fmt.Sprint(n)] = []byte{}
		s.session(w, fmt.Sprint(n), http.StatusAccepted)
	case http.MethodPatch, http.MethodPut:
		s.take(w, r, id)
	case http.MethodGet:
		if _, ok := s.parts[id]; !ok || !s.statuses {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		s.session(w, id, http.StatusNoContent)
	}
}

func (s *taker) session(w http.ResponseWriter, id string, status int) {
	w.Header().Set("Location", "/v2/it/blobs/uploads/"+id+"?state=a%2Bb")
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(s.parts[id])-1)))
	w.WriteHeader(status)
}

func (s *taker) take(w http.ResponseWriter, r *http.Request, id string) {
	part, ok := s.parts[id]
	var start int
	if value := r.Header.Get("Content-Range"); value != "" {
		fmt.Sscanf(value, "%d-", &start)
	}
	if !ok || r.URL.Query().Get("state") != "a+b" || r.Method == http.MethodPatch && start != len(part) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	raw, err := io.ReadAll(r.Body)
	s.parts[id] = append(part, raw...)
	s.sizes = append(s.sizes, int64(len(raw)))
	if err != nil {
		return
	}
	if r.Method == http.MethodPatch {
		s.session(w, id, http.StatusAccepted)
		return
	}
	want := digest.Digest(r.URL.Query().Get("digest"))
	if digest.FromBytes(s.parts[id]) != want {
		http.Error(w, `{"errors":[{"code":"DIGEST_INVALID","message":"other content"}]}`, http.StatusBadRequest)
		return
	}
	s.blobs[want] = s.parts[id]
	delete(s.parts, id)
	w.WriteHeader(http.StatusCreated)
}

// breakAt takes n bytes of the body of the first PATCH and breaks the connection.
func (s *taker) breakAt(bytes int64) func(w http.ResponseWriter, r *http.Request, n int) bool {
	broken := false
	return func(w http.ResponseWriter, r *http.Request, n int) bool {
		if broken || r.Method != http.MethodPatch {
			return false
		}
		broken = true
		raw, _ := io.ReadAll(io.LimitReader(r.Body, bytes))
		id := strings.TrimPrefix(r.URL.Path, "/v2/it/blobs/uploads/")
		s.parts[id] = append(s.parts[id], raw...)
		s.sizes = append(s.sizes, int64(len(raw)))
		abort()
		return true
	}
}

func TestUpload(t *testing.T) {
	const big = 5 << 20
	first := func(method string, status, times int) func(*taker) {
		return func(s *taker) {
			s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if r.Method != method || times == 0 {
					return false
				}
				times--
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(status)
				return true
			}
		}
	}
	for name, c := range map[string]struct {
		size     int
		o        registry.Options
		set      func(s *taker)
		requests string
		sent     int64
		want     string
	}{
		"small":            {size: 1000, requests: "HEAD POST PUT", sent: 1000},
		"empty":            {size: 0, requests: "HEAD POST PUT"},
		"big":              {size: big, requests: "HEAD POST PATCH PUT", sent: big},
		"in chunks":        {size: big, o: registry.Options{ChunkSize: 2 << 20}, requests: "HEAD POST PATCH PATCH PATCH PUT", sent: big},
		"small in chunks":  {size: 1000, o: registry.Options{ChunkSize: 400}, requests: "HEAD POST PATCH PATCH PATCH PUT", sent: 1000},
		"there already":    {size: 1000, set: func(s *taker) { s.blobs[digest.FromBytes(noise(7, 1000))] = nil }, requests: "HEAD"},
		"mounted":          {size: 1000, o: registry.Options{MountFrom: []string{"other", "some/base"}}, set: func(s *taker) { s.others["some/base "+string(digest.FromBytes(noise(7, 1000)))] = true }, requests: "HEAD POST POST"},
		"not mounted":      {size: 1000, o: registry.Options{MountFrom: []string{"some/base"}}, requests: "HEAD POST PUT", sent: 1000},
		"mount denied":     {size: 1000, o: registry.Options{MountFrom: []string{"some/base"}}, set: first(http.MethodPost, 403, 1), requests: "HEAD POST POST PUT", sent: 1000},
		"broken, goes on":  {size: big, set: func(s *taker) { s.do = s.breakAt(3 << 20) }, requests: "HEAD POST PATCH GET PATCH PUT", sent: big},
		"broken, all sent": {size: big, set: func(s *taker) { s.do = s.breakAt(big) }, requests: "HEAD POST PATCH GET PUT", sent: big},
		"broken at once":   {size: big, set: func(s *taker) { s.do = s.breakAt(0) }, requests: "HEAD POST PATCH GET POST PATCH PUT", sent: big},
		"broken, anew":     {size: big, set: func(s *taker) { s.do, s.statuses = s.breakAt(3<<20), false }, requests: "HEAD POST PATCH GET POST PATCH PUT", sent: big + 3<<20},
		"busy":             {size: 1000, set: first(http.MethodPost, 503, 2), requests: "HEAD POST POST POST PUT", sent: 1000},
		"busy at the end":  {size: big, set: first(http.MethodPut, 500, 1), requests: "HEAD POST PATCH PUT GET PUT", sent: big},
		"too many":         {size: 1000, set: first(http.MethodPut, 429, 1), requests: "HEAD POST PUT GET POST PUT", sent: 1000},
		"busy for ever":    {size: 1000, set: first(http.MethodPost, 503, 99), want: "given up after 6"},
		"denied":           {size: 1000, set: first(http.MethodPost, 403, 1), want: "--creds"},
		"no HEAD":          {size: 1000, set: first(http.MethodHead, 405, 1), requests: "HEAD POST PUT", sent: 1000},
		"no location": {size: 1000, set: func(s *taker) {
			s.do = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusAccepted)
				}
				return r.Method == http.MethodPost
			}
		}, want: "does not say where to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, at := newTaker(t)
			if c.set != nil {
				c.set(s)
			}
			m := newImage()
			d := m.add(v1.MediaTypeImageLayerGzip, noise(7, c.size))
			c.o.Backoff, c.o.Idle = quick.Registry.Backoff, quick.Registry.Idle
			to, err := transport.Create(t.Context(), parse(t, at), transport.Options{Registry: c.o})
			if err != nil {
				t.Fatal(err)
			}
			defer to.Close()
			opened := 0
			existed, err := to.PutBlob(t.Context(), d, func(offset int64) (io.ReadCloser, error) {
				opened++
				return memory{m}.Blob(t.Context(), d, offset)
			})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v; want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := s.blobs[d.Digest]; !ok || existed != (opened == 0 && c.size > 0) {
				t.Errorf("there %v, existed %v, opened %d times", ok, existed, opened)
			}
			if got := strings.Join(s.requests, " "); got != c.requests {
				t.Errorf("requests %s; want %s", got, c.requests)
			}
			total := int64(0)
			for _, n := range s.sizes {
				total += n
			}
			if total != c.sent {
				t.Errorf("%d bytes sent, want %d", total, c.sent)
			}
		})
	}
}

// TestUploadOfBadContent: what is wrong with our own content is not tried again.
func TestUploadOfBadContent(t *testing.T) {
	for _, size := range []int{1000, 2 << 20} {
		s, at := newTaker(t)
		to, err := transport.Create(t.Context(), parse(t, at), quick)
		if err != nil {
			t.Fatal(err)
		}
		d := v1.Descriptor{Digest: digest.FromString("other"), Size: int64(size)}
		broken := errors.New("a bad disk")
		opened := 0
		_, err = to.PutBlob(t.Context(), d, func(int64) (io.ReadCloser, error) {
			opened++
			return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", size)), failing{broken})), nil
		})
		if !errors.Is(err, broken) || opened != 1 || len(s.blobs) > 0 {
			t.Errorf("%v, opened %d times", err, opened)
		}
		to.Close()
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestForeignLayers come from where their descriptors say, with no credentials, and are not pushed.
func TestForeignLayers(t *testing.T) {
	m := twoLayers(t)
	elsewhere := &server{image: newImage()}
	elsewhere.layers = m.layers
	for d, raw := range m.content {
		elsewhere.content[d] = raw
	}
	files := httptest.NewTLSServer(elsewhere)
	defer files.Close()
	foreign := m.layers[1]
	foreign.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	foreign.URLs = []string{"ftp://x/y", files.URL + "/v2/it/blobs/" + string(foreign.Digest)}
	var man v1.Manifest
	unmarshal(t, m.content[m.root.Digest], &man)
	man.Layers[1] = foreign
	m.json(t, v1.MediaTypeImageManifest, man)
	delete(m.content, foreign.Digest)
	s := &server{image: m}
	s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if !basic(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	at, o := s.start(t)
	o.Registry.Creds, o.Registry.Insecure = user+":"+password, true
	got, err := pull(t, at, o)
	if err != nil {
		t.Fatal(err)
	}
	m.content[foreign.Digest] = elsewhere.content[foreign.Digest]
	same(t, m, got)
	if len(elsewhere.header) != 1 || elsewhere.header[0].Get("Authorization") != "" {
		t.Errorf("asked elsewhere: %v", elsewhere.header)
	}
	for _, bad := range []string{"http://127.0.0.1:1/x", "file:///etc/passwd", "::"} {
		foreign.URLs = []string{bad}
		o.Registry.Insecure = false
		source, err := transport.Open(t.Context(), parse(t, at), o)
		if err != nil {
			t.Fatal(err)
		}
		delete(m.content, foreign.Digest)
		if _, err := source.Blob(t.Context(), foreign, 0); err == nil || !strings.Contains(err.Error(), "not an https URL") {
			t.Error(bad, err)
		}
		source.Close()
	}
	web := httptest.NewServer(memoryregistry.New(memoryregistry.Logger(log.New(io.Discard, "", 0))))
	defer web.Close()
	u, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	done := map[digest.Digest]bool{}
	var mu sync.Mutex
	d, err := transport.Create(t.Context(), parse(t, "docker://"+u.Host+"/it"), quick)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = transport.Copy(t.Context(), d, memory{m}, m.root, func(b v1.Descriptor, _ bool) {
		mu.Lock()
		done[b.Digest] = true
		mu.Unlock()
	})
	if err != nil || done[foreign.Digest] || !done[m.layers[0].Digest] {
		t.Errorf("%v, %v", done, err)
	}
}
