// Package verify holds content to its descriptor while it is read.
package verify

import (
	_ "crypto/sha256" // the algorithms that a digest may name
	_ "crypto/sha512"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
)

// Descriptor says what is wrong with d itself: a digest that could not be a file's name or a negative size.
func Descriptor(d v1.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return &fault.Error{Op: "check descriptor", Path: string(d.Digest), Err: err}
	}
	if d.Size < 0 {
		return &fault.Error{Op: "check descriptor", Path: string(d.Digest), Msg: fmt.Sprintf("size %d", d.Size)}
	}
	return nil
}

// reader is an io.ReadCloser that ends well only if what came is what the descriptor says.
type reader struct {
	from io.ReadCloser
	want v1.Descriptor
	at   int64
	hash hash.Hash // nil: only the size is checked
	err  error
}

// Reader returns the content of desc, read from from, which it closes: io.EOF comes only after desc.Size bytes of the
// digest that desc says. Another digest, a short or a longer content is an error; at the first byte too many nothing
// more is read. Who does not read up to io.EOF has verified nothing. Desc must have passed Descriptor.
func Reader(desc v1.Descriptor, from io.ReadCloser) io.ReadCloser {
	return &reader{from: from, want: desc, hash: desc.Digest.Algorithm().Hash()}
}

// Size is Reader for the content from offset at on, of which only the size is verified: the digest is the caller's to
// check.
func Size(desc v1.Descriptor, from io.ReadCloser, at int64) io.ReadCloser {
	return &reader{from: from, want: desc, at: at}
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	left := r.want.Size - r.at
	if int64(len(p)) > left+1 {
		p = p[:left+1] // one more than there may be, to see the end
	}
	n, err := r.from.Read(p)
	if int64(n) > left {
		r.err = r.fail("longer than the %d bytes of its descriptor", r.want.Size)
		n = int(left)
	} else {
		r.err = err
	}
	r.at += int64(n)
	if r.hash != nil {
		r.hash.Write(p[:n])
	}
	if r.err == io.EOF {
		r.err = r.end()
	}
	return n, r.err
}

func (r *reader) end() error {
	if r.at != r.want.Size {
		return r.fail("ends after %d of %d bytes", r.at, r.want.Size)
	}
	if r.hash != nil {
		if got := digest.NewDigest(r.want.Digest.Algorithm(), r.hash); got != r.want.Digest {
			return r.fail("the content has digest %s", got)
		}
	}
	return io.EOF
}

func (r *reader) fail(format string, args ...any) error {
	return &fault.Error{Op: "verify", Path: string(r.want.Digest), Msg: fmt.Sprintf(format, args...), Code: Code}
}

// Code is the fault.Error.Code of content that is not what its descriptor says.
const Code = "content-mismatch"

func (r *reader) Close() error { return r.from.Close() }

// All reads the whole content of desc from from, which it closes, and verifies it. More than limit bytes are refused
// before anything is read.
func All(desc v1.Descriptor, from io.ReadCloser, limit int64) ([]byte, error) {
	defer from.Close()
	if desc.Size > limit {
		return nil, &fault.Error{Op: "read", Path: string(desc.Digest),
			Msg: fmt.Sprintf("%d bytes of %s are more than the limit of %d", desc.Size, desc.MediaType, limit)}
	}
	return io.ReadAll(Reader(desc, from))
}

// Bytes says whether content is what desc says.
func Bytes(desc v1.Descriptor, content []byte) error {
	r := &reader{want: desc, at: int64(len(content))}
	if r.at == desc.Size {
		r.hash = desc.Digest.Algorithm().Hash()
		r.hash.Write(content)
	}
	if err := r.end(); err != io.EOF {
		return err
	}
	return nil
}

// Limited reads all of from, but no more than limit bytes; what is named in an error about a longer content.
func Limited(from io.Reader, limit int64, what string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = &fault.Error{Op: "read", Path: what, Msg: fmt.Sprintf("longer than the limit of %d bytes", limit)}
	}
	return raw, err
}
