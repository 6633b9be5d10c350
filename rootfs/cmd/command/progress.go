package command

import (
	"fmt"
	"io"
	"os"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"

	"berth/rootfs/layer"
)

// bars show how far a verb is on standard error: bars on a terminal, a line for each blob that is done elsewhere,
// nothing with --quiet or --json.
type bars struct {
	out   io.Writer
	pool  *mpb.Progress // on a terminal
	lines sync.Mutex
}

func (r *runner) bars() *bars {
	b := &bars{out: r.err}
	if r.quiet || r.json {
		b.out = nil
		return b
	}
	if f, ok := r.err.(*os.File); ok && isTerminal(f) {
		b.pool = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40))
	}
	return b
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// track begins the bar of a blob.
func (b *bars) track(d ocispec.Descriptor) layer.Track {
	switch {
	case b.out == nil:
		return silent{}
	case b.pool == nil:
		return &line{bars: b, name: short(d.Digest.String())}
	}
	t := &bar{}
	t.bar = b.pool.AddBar(d.Size,
		mpb.PrependDecorators(decor.Name(short(d.Digest.String())+" ")),
		mpb.AppendDecorators(decor.OnComplete(decor.CountersKiloByte("% .1f / % .1f "), ""), decor.Any(func(decor.Statistics) string { return t.state() })))
	return t
}

// end leaves the last state on the terminal; bars of what failed stay as they were.
func (b *bars) end() {
	if b.pool != nil {
		b.pool.Shutdown()
	}
}

type silent struct{}

func (silent) Add(int64)         {}
func (silent) End(layer.Outcome) {}

type line struct {
	bars *bars
	name string
}

func (*line) Add(int64) {}

func (l *line) End(outcome layer.Outcome) {
	l.bars.lines.Lock()
	defer l.bars.lines.Unlock()
	fmt.Fprintf(l.bars.out, "%s %s\n", l.name, outcome)
}

type bar struct {
	bar     *mpb.Bar
	mu      sync.Mutex
	outcome layer.Outcome
}

func (t *bar) Add(n int64) { t.bar.IncrInt64(n) }

func (t *bar) End(outcome layer.Outcome) {
	t.mu.Lock()
	t.outcome = outcome
	t.mu.Unlock()
	t.bar.SetTotal(-1, true)
}

func (t *bar) state() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.outcome)
}
