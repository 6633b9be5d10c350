package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/ref"
	"berth/rootfs/layer/transport/verify"
)

// Source is an image in a registry. Contents are not verified, but are read again from where a connection broke.
type Source struct {
	client *client
	root   v1.Descriptor
	raw    []byte
}

// Open connects to the registry and reads the manifest or index that r names.
func Open(ctx context.Context, r ref.Ref, o Options) (*Source, error) {
	c, err := connect(ctx, r, o, "pull")
	if err != nil {
		return nil, err
	}
	s := &Source{client: c}
	which := r.Tag
	if r.Digest != "" {
		which = string(r.Digest)
	}
	var header http.Header
	if s.raw, header, err = c.manifest(ctx, which, manifest.MaxSize); err != nil {
		return nil, explain(err)
	}
	media, err := manifest.MediaType(s.raw, contentType(header))
	if err != nil {
		return nil, err
	}
	s.root = v1.Descriptor{MediaType: media, Digest: r.Digest, Size: int64(len(s.raw))}
	if r.Digest == "" {
		s.root.Digest = digest.FromBytes(s.raw)
		if said := digest.Digest(header.Get("Docker-Content-Digest")); said.Validate() == nil {
			s.root.Digest = said
		}
	}
	return s, verify.Bytes(s.root, s.raw)
}

func contentType(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.TrimSpace(media)
}

// manifest reads a manifest of at most limit bytes by tag or digest.
func (c *client) manifest(ctx context.Context, which string, limit int64) (raw []byte, h http.Header, err error) {
	r := request{method: http.MethodGet, url: c.at("manifests", which), want: []int{http.StatusOK},
		header: http.Header{"Accept": {strings.Join(manifest.Accepted, ", ")}}}
	err = c.retry(ctx, func() error {
		resp, err := c.do(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if raw, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err == nil && int64(len(raw)) > limit {
			return lie(redacted(r.url), "a manifest longer than %d bytes", limit)
		}
		h = resp.Header
		return err
	})
	return raw, h, err
}

// Root returns the descriptor of what the name stands for.
func (s *Source) Root() v1.Descriptor { return s.root }

// Manifest reads a manifest or index.
func (s *Source) Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	raw := s.raw
	if d.Digest != s.root.Digest {
		var err error
		if raw, _, err = s.client.manifest(ctx, string(d.Digest), min(d.Size, manifest.MaxSize)); err != nil {
			return nil, explain(err)
		}
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// Blob reads a blob from offset on. The digest must be valid and the offset not above the size.
func (s *Source) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b := &blob{ctx: ctx, of: s.client, d: d, at: offset, patience: patience{of: s.client}, from: s.client.at("blobs", string(d.Digest))}
	err := b.begin()
	if notFound(err) {
		err = b.elsewhere(err)
	}
	if err != nil {
		return nil, explain(err)
	}
	return b, nil
}

// Close closes the connections that are not in use.
func (s *Source) Close() error {
	s.client.http.CloseIdleConnections()
	return nil
}

func notFound(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode == http.StatusNotFound
}

// blob is the content of a blob from a place on. Where a connection breaks it goes on with another.
type blob struct {
	ctx      context.Context
	of       *client
	d        v1.Descriptor
	from     *url.URL
	anywhere bool  // from is not the registry
	at       int64 // the next byte to give out
	body     io.ReadCloser
	noRange  bool // the server does ranges wrong
	patience patience
	mark     int64 // at, when patience was last renewed
}

// progress is how many bytes renew the patience with a server that breaks connections.
const progress = 64 << 10

// begin opens the body at b.at, with retries.
func (b *blob) begin() error {
	for {
		err := b.open()
		if err == nil {
			return nil
		}
		if err = b.pause(err); err != nil {
			return err
		}
	}
}

func (b *blob) pause(err error) error {
	if b.at-b.mark >= progress {
		b.patience.failures, b.mark = 0, b.at
	}
	return b.patience.pause(b.ctx, err)
}

func (b *blob) open() error {
	r := request{method: http.MethodGet, url: b.from, want: []int{http.StatusOK}, elsewhere: b.anywhere}
	ranged := b.at > 0 && b.at < b.d.Size && !b.noRange
	if ranged {
		r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.at)}}
		r.want = []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable}
	}
	resp, err := b.of.do(b.ctx, r)
	if err != nil {
		return err
	}
	if err = b.accept(resp, ranged); err != nil {
		resp.Body.Close()
		return err
	}
	b.body = resp.Body
	return nil
}

// accept brings a response to the byte b.at.
func (b *blob) accept(resp *http.Response, ranged bool) error {
	if ranged && resp.StatusCode != http.StatusOK {
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if resp.StatusCode == http.StatusPartialContent && ok && start == b.at {
			if total >= 0 && total != b.d.Size {
				return lie(redacted(b.from), "%d bytes, not the %d of the descriptor", total, b.d.Size)
			}
			return nil
		}
		b.noRange = true
		return &fault.Error{Op: "resume", Path: redacted(b.from), Msg: fmt.Sprintf("asked for byte %d, got status %d, range %q",
			b.at, resp.StatusCode, resp.Header.Get("Content-Range"))}
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.d.Size {
		return lie(redacted(b.from), "%d bytes, not the %d of the descriptor", resp.ContentLength, b.d.Size)
	}
	_, err := io.CopyN(io.Discard, resp.Body, b.at)
	return err
}

// contentRange reads "bytes START-END/TOTAL" (RFC 9110, 14.4); a total of "*" is -1.
func contentRange(s string) (start, total int64, ok bool) {
	var end int64
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/%d", &start, &end, &total); n == 3 {
		return start, total, true
	}
	n, _ := fmt.Sscanf(s, "bytes %d-%d/*", &start, &end)
	return start, -1, n == 2
}

// elsewhere opens the first of the descriptor's own URLs that answers, for layers that may not be kept in registries.
// They get no credentials (CVE-2020-15157).
func (b *blob) elsewhere(err error) error {
	for _, raw := range b.d.URLs {
		u, e := url.Parse(raw)
		if e != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && b.of.Insecure) {
			err = &fault.Error{Op: "fetch", Path: raw, Msg: "not an https URL", Err: err}
			continue
		}
		b.from, b.anywhere = u, true
		if e := b.begin(); e == nil {
			return nil
		} else {
			err = e
		}
	}
	return err
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			if err := b.begin(); err != nil {
				return 0, explain(err)
			}
		}
		n, err := b.body.Read(p)
		b.at += int64(n)
		if err == nil || b.at > b.d.Size {
			return n, nil
		}
		if b.at == b.d.Size {
			return n, io.EOF
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		b.body.Close()
		b.body = nil
		err = &fault.Error{Op: "read", Path: redacted(b.from), Msg: fmt.Sprintf("broke off after %d of %d bytes", b.at, b.d.Size), Err: err}
		if err = b.pause(err); err != nil {
			return n, explain(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (b *blob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
