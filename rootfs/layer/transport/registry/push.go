package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/ref"
)

// Destination is a repository that is pushed to.
type Destination struct {
	client *client
	mu     sync.Mutex
	raw    map[digest.Digest][]byte // the manifests that were put, for their tag
}

// small is up to which size a blob is sent with the request that finishes its upload.
const small = 1 << 20

// smallerChunk is what is tried where a registry finds a request too large.
const smallerChunk = 32 << 20

// Create connects to the registry.
func Create(ctx context.Context, r ref.Ref, o Options) (*Destination, error) {
	c, err := connect(ctx, r, o, "pull,push")
	if err != nil {
		return nil, err
	}
	return &Destination{client: c, raw: map[digest.Digest][]byte{}}, nil
}

// PutBlob implements transport.Destination. A blob is there already if the repository has it, or takes it over from one
// of MountFrom.
func (d *Destination) PutBlob(ctx context.Context, desc v1.Descriptor, open func(int64) (io.ReadCloser, error)) (bool, error) {
	existed, err := d.client.has(ctx, desc)
	if existed || err != nil {
		return existed, explain(err)
	}
	u := upload{client: d.client, d: desc, open: open, chunk: d.client.ChunkSize}
	for _, from := range d.client.MountFrom {
		// Who may not read the other repository uploads the blob.
		if mounted, err := u.mount(ctx, from); mounted || ctx.Err() != nil {
			return mounted, err
		}
	}
	return false, explain(u.run(ctx))
}

// has asks whether the repository has a blob.
func (c *client) has(ctx context.Context, d v1.Descriptor) (bool, error) {
	found := false
	err := c.retry(ctx, func() error {
		resp, err := c.do(ctx, request{method: http.MethodHead, url: c.at("blobs", string(d.Digest)), want: []int{http.StatusOK}})
		var status *transport.Error
		if errors.As(err, &status) && (status.StatusCode == http.StatusNotFound || status.StatusCode == http.StatusMethodNotAllowed) {
			return nil
		}
		if err == nil {
			resp.Body.Close()
			found = resp.ContentLength < 0 || resp.ContentLength == d.Size
		}
		return err
	})
	return found, err
}

// upload is one blob on its way.
type upload struct {
	*client
	d        v1.Descriptor
	open     func(int64) (io.ReadCloser, error)
	chunk    int64    // 0: all in one request
	location *url.URL // of the session; nil: none yet
	at       int64    // how much the registry has
}

// mount takes the blob over from another repository. Where that fails the registry has begun an upload instead.
func (u *upload) mount(ctx context.Context, from string) (bool, error) {
	mounted := false
	to := u.client.at("blobs", "uploads/")
	to.RawQuery = url.Values{"mount": {string(u.d.Digest)}, "from": {from}}.Encode()
	err := u.retry(ctx, func() error {
		resp, err := u.do(ctx, request{method: http.MethodPost, url: to, want: []int{http.StatusCreated, http.StatusAccepted}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if mounted = resp.StatusCode == http.StatusCreated; mounted {
			return nil
		}
		return u.session(resp)
	})
	return mounted, err
}

// run uploads the blob, going on from where a broken connection left it if the registry can say where that is.
func (u *upload) run(ctx context.Context) error {
	p := patience{of: u.client}
	best := int64(0) // as much as the registry ever had; more renews the patience
	for {
		err := u.step(ctx)
		switch {
		case err == nil && u.location == nil:
			return nil
		case err == nil:
			continue
		case tooLarge(err) && u.chunk == 0 && u.d.Size > smallerChunk:
			u.chunk, u.location = smallerChunk, nil
			continue
		}
		if err = p.pause(ctx, err); err != nil {
			return err
		}
		u.resume(ctx)
		if u.at-best >= progress {
			p.failures, best = 0, u.at
		}
	}
}

func tooLarge(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode == http.StatusRequestEntityTooLarge
}

// step sends the next request of the upload. After the last location is nil.
func (u *upload) step(ctx context.Context) error {
	switch {
	case u.location == nil:
		return u.start(ctx)
	case u.at == u.d.Size || u.at == 0 && u.d.Size <= small && u.chunk == 0:
		return u.finish(ctx)
	}
	return u.patch(ctx)
}

func (u *upload) start(ctx context.Context) error {
	resp, err := u.do(ctx, request{method: http.MethodPost, url: u.client.at("blobs", "uploads/"), want: []int{http.StatusAccepted}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	u.at = 0
	if least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && u.chunk > 0 {
		u.chunk = max(u.chunk, least)
	}
	return u.session(resp)
}

// session takes over where the upload goes on.
func (u *upload) session(resp *http.Response) error {
	to, err := resp.Location()
	if err != nil {
		return permanent{&fault.Error{Op: "upload", Path: string(u.d.Digest), Msg: "the registry does not say where to", Err: err}}
	}
	u.location = to
	return nil
}

// patch sends the next chunk.
func (u *upload) patch(ctx context.Context) error {
	end := u.d.Size
	if u.chunk > 0 {
		end = min(end, u.at+u.chunk)
	}
	r := request{method: http.MethodPatch, url: u.location, want: []int{http.StatusAccepted},
		header: http.Header{"Content-Type": {"application/octet-stream"}}}
	if u.at > 0 || end < u.d.Size {
		r.header["Content-Range"] = []string{fmt.Sprintf("%d-%d", u.at, end-1)}
	}
	resp, err := u.send(ctx, r, u.at, end)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	u.at = end
	return u.session(resp)
}

// finish ends the session, sending along all of a small blob.
func (u *upload) finish(ctx context.Context) error {
	to := *u.location
	query := to.Query()
	query.Set("digest", string(u.d.Digest))
	to.RawQuery = query.Encode()
	r := request{method: http.MethodPut, url: &to, want: []int{http.StatusCreated},
		header: http.Header{"Content-Type": {"application/octet-stream"}}, slow: true}
	resp, err := u.send(ctx, r, u.at, u.d.Size)
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.location = nil
	return nil
}

// send sends r with the blob's bytes from start to end.
func (u *upload) send(ctx context.Context, r request, start, end int64) (*http.Response, error) {
	body := &outgoing{}
	if start < end {
		from, err := u.open(start)
		if err != nil {
			return nil, permanent{err}
		}
		body.from, body.left, body.last = from, end-start, end == u.d.Size
		r.body, r.length = body, end-start
	}
	resp, err := u.do(ctx, r)
	if ours := body.failure(); ours != nil {
		if err == nil {
			resp.Body.Close()
		}
		return nil, permanent{ours}
	}
	return resp, err
}

// outgoing is a part of a blob as the body of a request. The last part is read to its end, where it is verified.
type outgoing struct {
	from io.ReadCloser
	left int64
	last bool
	mu   sync.Mutex
	done bool
	err  error // of from
}

func (o *outgoing) Read(p []byte) (int, error) {
	o.mu.Lock()
	done := o.done
	o.mu.Unlock()
	if done { // after a new token the same request is sent again
		return 0, errors.New("the body of the request is used up")
	}
	if !o.last && o.left == 0 {
		return 0, io.EOF
	}
	if !o.last && int64(len(p)) > o.left {
		p = p[:o.left]
	}
	n, err := o.from.Read(p)
	o.left -= int64(n)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil && err != io.EOF && !o.done {
		o.err = err
	}
	return n, err
}

func (o *outgoing) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *outgoing) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return nil
	}
	o.done = true
	return o.from.Close()
}

// resume asks how much of the blob has come (distribution specification, "Get Blob Upload Status"). Where the registry
// does not say, the upload begins again.
func (u *upload) resume(ctx context.Context) {
	if u.location == nil {
		return
	}
	resp, err := u.do(ctx, request{method: http.MethodGet, url: u.location, want: []int{http.StatusNoContent}})
	if err != nil {
		u.location, u.at = nil, 0
		return
	}
	defer resp.Body.Close()
	var start, end int64
	n, _ := fmt.Sscanf(cmp.Or(resp.Header.Get("Range"), "0-0"), "%d-%d", &start, &end)
	if resp.Header.Get("Location") != "" {
		err = u.session(resp)
	}
	if n != 2 || start != 0 || end < 0 || end >= u.d.Size || err != nil {
		u.location, u.at = nil, 0
		return
	}
	u.at = end + 1
	if end == 0 { // both nothing and one byte, as it is written
		u.location, u.at = nil, 0
	}
}

// PutManifest implements transport.Destination.
func (d *Destination) PutManifest(ctx context.Context, desc v1.Descriptor, raw []byte) error {
	d.mu.Lock()
	d.raw[desc.Digest] = raw
	d.mu.Unlock()
	return explain(d.client.putManifest(ctx, string(desc.Digest), desc.MediaType, raw))
}

func (c *client) putManifest(ctx context.Context, which, media string, raw []byte) error {
	return c.retry(ctx, func() error {
		resp, err := c.do(ctx, request{method: http.MethodPut, url: c.at("manifests", which), want: []int{http.StatusCreated},
			header: http.Header{"Content-Type": {media}}, body: io.NopCloser(bytes.NewReader(raw)), length: int64(len(raw)), slow: true})
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// Commit tags root. A name with a digest alone has no tag, and must have the digest of root.
func (d *Destination) Commit(ctx context.Context, root v1.Descriptor) error {
	r := d.client.ref
	if r.Digest != "" && r.Digest != root.Digest {
		return &fault.Error{Op: "push", Path: r.String(), Msg: "the image has digest " + string(root.Digest)}
	}
	if r.Tag == "" {
		return nil
	}
	d.mu.Lock()
	raw, ok := d.raw[root.Digest]
	d.mu.Unlock()
	if !ok {
		return &fault.Error{Op: "push", Path: r.String(), Msg: "no manifest was put with digest " + string(root.Digest)}
	}
	return explain(d.client.putManifest(ctx, r.Tag, root.MediaType, raw))
}

// Close closes the connections that are not in use.
func (d *Destination) Close() error {
	d.client.http.CloseIdleConnections()
	return nil
}

// Delete deletes the manifest that r has the digest of, and with it all of its tags; or else the tag, which not every
// registry can.
func Delete(ctx context.Context, r ref.Ref, o Options) error {
	c, err := connect(ctx, r, o, "pull,push,delete")
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	err = c.retry(ctx, func() error {
		resp, err := c.do(ctx, request{method: http.MethodDelete, url: c.at("manifests", cmp.Or(string(r.Digest), r.Tag)),
			want: []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent}})
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	var status *transport.Error
	if errors.As(err, &status) && (status.StatusCode == http.StatusMethodNotAllowed || r.Digest == "" && status.StatusCode == http.StatusBadRequest) {
		return &fault.Error{Op: "delete", Path: r.String(), Err: err, Hint: "the registry may be able to delete by @DIGEST, with all tags of it"}
	}
	return explain(err)
}
