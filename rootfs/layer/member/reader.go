package member

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"berth/libcontainer/fault"
)

// Options say what a Reader fills in and how much it takes. The zero value takes everything.
type Options struct {
	Offsets    bool  // fill Member.Data
	MaxEntries int64 // refuse a layer with more headers; 0 means no limit
}

// Reader reads the members of one layer. It is not safe for concurrent use.
type Reader struct {
	source  source
	options Options
	entries int64
	name    string    // of the present header, for errors
	segs    []Segment // of the present File, what is still to be read
	pos     int64     // in the present File
	size    int64     // of the present File
	dataEnd int64     // where the data of the present member ends in the stream; padding follows
	err     error     // the last one; it stays
}

// NewReader reads the uncompressed tar stream r, headers in pieces of 512 bytes: a file wants a bufio.Reader.
func NewReader(r io.Reader, o Options) *Reader { return &Reader{source: source{r: r}, options: o} }

// Next returns the next member, whose content Read then gives. It returns io.EOF at the end of the archive, having
// read r to its end: what follows the archive belongs to the layer's digest and to nothing else. A stream that ends
// behind a complete member is complete, as for any tar. An error is a fault.Error that names the member, or the error
// of r; after one, Next and Read go on returning it.
func (r *Reader) Next() (*Member, error) {
	for r.err == nil {
		m, err := r.next()
		if err == errIgnored {
			continue
		}
		r.err = err
		if err == nil {
			return m, nil
		}
	}
	return nil, r.err
}

func (r *Reader) next() (*Member, error) {
	if err := r.skipContent(); err != nil {
		return nil, err
	}
	start := r.source.at
	r.source.keep()
	// A tar.Reader for each header: it decodes headers, and content is read here, where the maps of sparse files are.
	h, err := tar.NewReader(&r.source).Next()
	r.source.keeping = false
	if err == io.EOF {
		return nil, r.finish()
	}
	if err != nil {
		return nil, r.headerFault(err, start)
	}
	r.name = h.Name
	if r.entries++; r.options.MaxEntries > 0 && r.entries > r.options.MaxEntries {
		return nil, &fault.Error{Op: "read layer", Path: h.Name,
			Msg:  fmt.Sprintf("the layer has more than %d entries", r.options.MaxEntries),
			Hint: "raise --max-entries if you trust it"}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		r.dataEnd = r.source.at
		return nil, errIgnored
	}
	m, err := r.member(h)
	if err != nil && err != errIgnored {
		err = r.fault(err)
	}
	return m, err
}

// skipContent goes on to the next header.
func (r *Reader) skipContent() error {
	r.segs, r.pos, r.size = nil, 0, 0
	if err := r.source.skipTo(r.dataEnd); err != nil {
		return r.cut(err)
	}
	// The padding of the last member may be missing: every tar takes that.
	if err := r.source.skipTo(roundUp(r.dataEnd)); err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	return nil
}

// member is what the header means; the source stands behind it.
func (r *Reader) member(h *tar.Header) (*Member, error) {
	at := r.source.at
	segs, stored := []Segment(nil), int64(0)
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		// No content, whatever the size says.
	default:
		var err error
		if segs, stored, err = layOut(h, r.source.kept, at); err != nil {
			return nil, err
		}
	}
	if r.dataEnd = at + stored; r.dataEnd < at || roundUp(r.dataEnd) < at {
		return nil, fmt.Errorf("size %d is out of range", h.Size)
	}
	m, err := fromHeader(h)
	if err == nil && m.Kind == File {
		r.segs, r.size = segs, m.Size
		if r.options.Offsets {
			m.Data = slices.Clone(segs)
		}
	}
	return m, err
}

func layOut(h *tar.Header, headers []byte, at int64) ([]Segment, int64, error) {
	if sparse(h) {
		return sparseSegments(h, headers, at)
	}
	if h.Size == 0 {
		return nil, 0, nil
	}
	return []Segment{{Offset: at, Length: h.Size}}, h.Size, nil
}

// finish ends the archive: only zeros may have been read where a header would stand.
func (r *Reader) finish() error {
	if len(bytes.Trim(r.source.kept, "\x00")) > 0 {
		return r.cut(io.ErrUnexpectedEOF) // an extension header without its member
	}
	if _, err := io.Copy(io.Discard, &r.source); err != nil {
		return err
	}
	return io.EOF
}

// Read reads the content of the present File, zeros in place of holes; io.EOF at its end and for every other kind.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.pos == r.size {
		return 0, io.EOF
	}
	if hole := r.hole(); hole > 0 {
		n := int(min(hole, int64(len(p))))
		clear(p[:n])
		r.pos += int64(n)
		return n, nil
	}
	seg := r.segs[0]
	left := seg.At + seg.Length - r.pos
	n, err := r.source.Read(p[:min(left, int64(len(p)))])
	r.pos += int64(n)
	if int64(n) == left {
		r.segs = r.segs[1:]
	} else if err == io.EOF {
		r.err = r.cut(io.ErrUnexpectedEOF)
		return n, r.err
	}
	if err != nil && err != io.EOF {
		r.err = err
		return n, err
	}
	return n, nil
}

// SkipHole skips the hole that Read would give as zeros next, and returns how many bytes that were; 0 where data is.
func (r *Reader) SkipHole() int64 {
	n := r.hole()
	r.pos += n
	return n
}

// InData says whether Read would give data next: neither a hole nor the end.
func (r *Reader) InData() bool { return r.pos < r.size && r.hole() == 0 }

func (r *Reader) hole() int64 {
	if len(r.segs) == 0 {
		return r.size - r.pos
	}
	return max(0, r.segs[0].At-r.pos)
}

func (r *Reader) fault(err error) error {
	return &fault.Error{Op: "read layer", Path: cmp.Or(r.name, "(no name)"), Err: err,
		Hint: "no tool may unpack this; have the image made again"}
}

// cut is the error for a stream that ends too early; any other error of the stream is passed on.
func (r *Reader) cut(err error) error {
	if err != io.ErrUnexpectedEOF {
		return err
	}
	return &fault.Error{Op: "read layer", Path: r.name, Err: err,
		Msg: "the stream ends within this member or the header behind it", Hint: "fetch the layer again"}
}

// headerFault explains why there was no header at the place start.
func (r *Reader) headerFault(err error, start int64) error {
	if r.source.err != nil && r.source.err != io.EOF {
		return r.cut(r.source.err)
	}
	if err == io.ErrUnexpectedEOF {
		return r.cut(err)
	}
	after := "at its beginning"
	if r.name != "" {
		after = "behind this member"
	}
	return &fault.Error{Op: "read layer", Path: r.name, Err: err,
		Msg: fmt.Sprintf("no tar header %s, at byte %d of the stream", after, start), Hint: "fetch the layer again"}
}
