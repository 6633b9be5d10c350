package diff

import (
	"bufio"
	"io"
	"time"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
)

// Writer takes the members of a layer in their order; member.Writer is one.
type Writer interface {
	Write(m *member.Member, content io.Reader) error
}

// Write writes changes of upper as the members of a layer. A file that has
// changed its size since is an error.
func Write(upper *overlay.Dir, changes []Change, w Writer) error {
	buf := bufio.NewReaderSize(nil, chunk)
	for i := range changes {
		if err := writeOne(upper, &changes[i], w, buf); err != nil {
			return err
		}
	}
	return nil
}

func writeOne(upper *overlay.Dir, c *Change, w Writer, buf *bufio.Reader) error {
	m := c.Member
	if m.Kind != member.File || m.Size == 0 {
		if err := w.Write(&m, nil); err != nil {
			return err
		}
		if c.Opaque {
			return w.Write(&member.Member{Path: m.Path, Kind: member.Opaque, MTime: time.Unix(0, 0)}, nil)
		}
		return nil
	}
	f, err := upper.OpenFile(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != m.Size {
		e := fault.From(err, "read", m.Path)
		if e == nil {
			e = &fault.Error{Op: "read", Path: m.Path, Msg: "its size is not what it was"}
		}
		e.Hint = "something writes to it: pause the container meanwhile"
		return e
	}
	buf.Reset(f)
	return w.Write(&m, buf)
}
