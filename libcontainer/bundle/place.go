package bundle

import (
	"strings"

	"berth/libcontainer/fault"
)

// place is where in a document an entry is, with the entries below it that
// somebody asks for. A map of all entries would take a hundred times the memory
// of the document.
type place struct {
	below map[string]*place // by key or index
	off   int               // in bytes, where there is one
	there bool
}

func (p *place) found(off int) { p.off, p.there = off, true }

// places finds the entries that the complaints name in the document.
func (b *Bundle) places(list fault.List) *place {
	root := &place{}
	for _, e := range list {
		at := root
		for _, token := range e.Field.Tokens() {
			at = at.make(token)
		}
	}
	d := newDecoder(b.text())
	d.document(func() { d.locate(root) })
	return root
}

func (p *place) make(token string) *place {
	next := p.below[token]
	if next == nil {
		next = &place{}
		if p.below == nil {
			p.below = map[string]*place{}
		}
		p.below[token] = next
	}
	return next
}

// nearest is the entry that a pointer leads to, or the nearest above it that is
// there; exact tells which.
func (p *place) nearest(to fault.Pointer) (at *place, exact bool) {
	for _, token := range to.Tokens() {
		next := p.below[token]
		if next == nil || !next.there {
			return p, false
		}
		p = next
	}
	return p, true
}

func (p *place) has(to fault.Pointer) bool {
	_, exact := p.nearest(to)
	return exact && p.there
}

// offset is where an entry is, or where its nearest parent is.
func (p *place) offset(of fault.Pointer) int {
	at, _ := p.nearest(of)
	return at.off
}

// anchored shortens a pointer until its parent exists.
func (p *place) anchored(to fault.Pointer) fault.Pointer {
	for to != "" && !p.has(parent(to)) {
		to = parent(to)
	}
	return to
}

func parent(p fault.Pointer) fault.Pointer {
	return p[:max(0, strings.LastIndexByte(string(p), '/'))]
}
