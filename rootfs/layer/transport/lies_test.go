package transport_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/registry"
)

// server is a registry of one image, "it:latest", that does what the test wants.
type server struct {
	*image
	// do answers in the place of the server if it returns true. N counts the requests for the same URL, from 1.
	do     func(w http.ResponseWriter, r *http.Request, n int) bool
	mu     sync.Mutex
	asked  map[string]int
	header []http.Header // of all requests
	ranges []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[r.URL.Path]++
	n := s.asked[r.URL.Path]
	s.header = append(s.header, r.Header.Clone())
	if v := r.Header.Get("Range"); v != "" {
		s.ranges = append(s.ranges, v)
	}
	s.mu.Unlock()
	if s.do != nil && s.do(w, r, n) {
		return
	}
	s.honest(w, r)
}

func (s *server) honest(w http.ResponseWriter, r *http.Request) {
	_, last, _ := strings.Cut(r.URL.Path, "/v2/it/")
	kind, which, _ := strings.Cut(last, "/")
	sum := digest.Digest(which)
	if which == "latest" {
		sum = s.root.Digest
	}
	raw, ok := s.content[sum]
	switch {
	case r.URL.Path == "/v2/":
	case !ok:
		http.Error(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"nothing here"}]}`, http.StatusNotFound)
	case kind == "manifests":
		w.Header().Set("Content-Type", s.media[sum])
		w.Header().Set("Docker-Content-Digest", string(sum))
		w.Write(raw)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
	}
}

// start serves s on loopback and returns the image's name there and options that do not wait long.
func (s *server) start(t *testing.T) (string, transport.Options) {
	t.Helper()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return "docker://" + web.Listener.Addr().String() + "/it", quick
}

var quick = transport.Options{Registry: registry.Options{Backoff: time.Millisecond, Idle: 30 * time.Second}}

// blob says whether r is for layer i of the image.
func (s *server) layer(r *http.Request, i int) bool {
	return r.URL.Path == "/v2/it/blobs/"+string(s.layers[i].Digest)
}

func (s *server) big(r *http.Request) bool { return s.layer(r, 1) }

// abort breaks the connection.
func abort() { panic(http.ErrAbortHandler) }

// half sends the first bytes of a response that has n bytes, and breaks the connection.
func half(w http.ResponseWriter, raw []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.Write(raw[:n])
	w.(http.Flusher).Flush()
	abort()
}

// TestLies: what a bad registry does ends in an error that says so, or is mended.
func TestLies(t *testing.T) {
	type answer = func(s *server, w http.ResponseWriter, r *http.Request, n int) bool
	onBig := func(do func(s *server, w http.ResponseWriter, r *http.Request, n int)) answer {
		return func(s *server, w http.ResponseWriter, r *http.Request, n int) bool {
			if !s.big(r) {
				return false
			}
			do(s, w, r, n)
			return true
		}
	}
	content := func(s *server) []byte { return s.content[s.layers[1].Digest] }
	onManifest := func(do func(s *server, w http.ResponseWriter, n int)) answer {
		return func(s *server, w http.ResponseWriter, r *http.Request, n int) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			do(s, w, n)
			return true
		}
	}
	status := func(code, until int) answer {
		return func(s *server, w http.ResponseWriter, r *http.Request, n int) bool {
			if n > until {
				return false
			}
			w.WriteHeader(code)
			return true
		}
	}
	for name, c := range map[string]struct {
		do   answer
		want string // part of the error; empty: mended
	}{
		"honest": {func(*server, http.ResponseWriter, *http.Request, int) bool { return false }, ""},
		"wrong content": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.Write(bytes.Repeat([]byte("x"), len(content(s))))
		}), "the content has digest sha256:"},
		"announced too long": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("Content-Length", "1000000")
			w.Write(content(s))
		}), "1000000 bytes, not the"},
		"announced too short": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.Write(content(s)[:100])
		}), "100 bytes, not the"},
		"endless": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}), "longer than the"},
		"always truncated": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, _ int) {
			w.(http.Flusher).Flush()
			if r.Header.Get("Range") == "" {
				w.Write(content(s)[:1000])
			}
		}), "given up after"},
		"breaks off every 100 kB": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if n > 3 {
				s.honest(w, r)
				return
			}
			var start int
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
			raw := content(s)[start:]
			if start > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content(s))-1, len(content(s))))
				w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
				w.WriteHeader(http.StatusPartialContent)
			}
			half(w, raw, min(len(raw), 100_000))
		}), ""},
		"no ranges": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				half(w, content(s), 70_000)
			}
			w.Write(content(s))
		}), ""},
		"ranges refused": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case n == 1:
				half(w, content(s), 70_000)
			case r.Header.Get("Range") != "":
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				w.Write(content(s))
			}
		}), ""},
		"wrong range, then all": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case n == 1:
				half(w, content(s), 70_000)
			case r.Header.Get("Range") != "":
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(content(s))-1, len(content(s))))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(content(s)[5:])
			default:
				w.Write(content(s))
			}
		}), ""},
		"range of another content": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				half(w, content(s), 70_000)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 70000-%d/%d", len(content(s))-1, len(content(s))))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, len(content(s))-70_000))
		}), "the content has digest"},
		"range of another size": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				half(w, content(s), 70_000)
			}
			w.Header().Set("Content-Range", "bytes 70000-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
		}), "100000 bytes, not the"},
		"stalls": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			if n > 1 {
				s.honest(w, r)
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(content(s))))
			w.Write(content(s)[:10])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), ""},
		"never answers": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			<-r.Context().Done()
		}), "nothing came for too long"},
		"429, then fine": {status(http.StatusTooManyRequests, 2), ""},
		"500, then fine": {status(http.StatusInternalServerError, 2), ""},
		"503, then fine": {status(http.StatusServiceUnavailable, 2), ""},
		"503 for ever":   {status(http.StatusServiceUnavailable, 1000), "503"},
		"400":            {status(http.StatusBadRequest, 1000), "400"},
		"403 has a hint": {onManifest(func(s *server, w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusForbidden) }), "--creds"},
		"asks to wait for a day": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
		}), "asks to wait for 24h"},
		"connection reset": {func(s *server, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 && r.URL.Path != "/v2/" {
				abort()
			}
			return false
		}, ""},
		"redirect loop": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}), "more than 10 redirects"},
		"redirect to a file": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusTemporaryRedirect)
		}), "plain file is refused"},
		"redirect to plain http elsewhere": {onBig(func(s *server, w http.ResponseWriter, r *http.Request, n int) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusTemporaryRedirect)
		}), "plain http is refused"},
		"huge manifest": {onManifest(func(s *server, w http.ResponseWriter, _ int) {
			w.Write(append(s.content[s.root.Digest], bytes.Repeat([]byte(" "), manifest.MaxSize)...))
		}), "longer than 4194304"},
		"endless manifest": {onManifest(func(s *server, w http.ResponseWriter, _ int) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}), "longer than 4194304"},
		"manifest of another digest": {onManifest(func(s *server, w http.ResponseWriter, _ int) {
			w.Header().Set("Docker-Content-Digest", string(digest.FromString("x")))
			w.Write(s.content[s.root.Digest])
		}), "the content has digest"},
		"schema 1": {onManifest(func(s *server, w http.ResponseWriter, _ int) {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
			w.Write([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
		}), "schema 1"},
		"a page": {onManifest(func(s *server, w http.ResponseWriter, _ int) { w.Write([]byte("<html>")) }), "not a manifest"},
		"endless ping": {func(s *server, w http.ResponseWriter, r *http.Request, n int) bool {
			for r.URL.Path == "/v2/" {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return true
				}
			}
			return false
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{image: twoLayers(t)}
			s.do = func(w http.ResponseWriter, r *http.Request, n int) bool { return c.do(s, w, r, n) }
			at, o := s.start(t)
			if strings.Contains(name, "stalls") || strings.Contains(name, "never answers") {
				o.Registry.Idle = 300 * time.Millisecond
			}
			o.Registry.Retries = 3
			got, err := pull(t, at, o)
			switch {
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("%v; want %q", err, c.want)
			case c.want == "" && err != nil:
				t.Fatal(err)
			case err == nil:
				same(t, s.image, got)
			}
		})
	}
}

// TestBrokenConnectionGoesOnWhereItBroke: what has come is not fetched again.
func TestBrokenConnectionGoesOnWhereItBroke(t *testing.T) {
	s := &server{image: twoLayers(t)}
	s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if s.big(r) && n == 1 {
			half(w, s.content[s.layers[1].Digest], 100_000)
		}
		return false
	}
	at, o := s.start(t)
	var counted atomic.Int64
	o.Progress = func(d v1.Descriptor, n int64) { counted.Add(n) }
	got, err := pull(t, at, o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s.image, got)
	var start int
	if fmt.Sscanf(strings.Join(s.ranges, " "), "bytes=%d-", &start); len(s.ranges) != 1 || start <= 0 || start > 100_000 {
		t.Errorf("ranges asked for: %v", s.ranges)
	}
	total := int64(0)
	for d, raw := range s.content {
		if d != s.root.Digest {
			total += int64(len(raw))
		}
	}
	if counted.Load() != total {
		t.Errorf("progress of %d bytes of %d", counted.Load(), total)
	}
}

// TestStopped: a cancelled context ends a read that waits.
func TestStopped(t *testing.T) {
	s := &server{image: twoLayers(t)}
	waiting := make(chan struct{})
	s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if s.big(r) {
			close(waiting)
			<-r.Context().Done()
			return true
		}
		return false
	}
	at, o := s.start(t)
	source, err := transport.Open(t.Context(), parse(t, at), o)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	ctx, cancel := contextOf(t)
	go func() { <-waiting; cancel() }()
	begun := time.Now()
	if _, err := source.Blob(ctx, s.layers[1], 0); err == nil || time.Since(begun) > 10*time.Second {
		t.Error(err, time.Since(begun))
	}
}
