package bundle

import "berth/libcontainer/fault"

// step is one reference token of a JSON pointer: an object's key, or an
// array's index where array is set.
type step struct {
	key   string
	index int
	array bool
}

// trail is where in config.json we are. It costs nothing until a complaint
// asks for its pointer.
type trail []step

func (t *trail) enter(key string)      { *t = append(*t, step{key: key}) }
func (t *trail) enterArray()           { *t = append(*t, step{array: true}) }
func (t *trail) leave()                { *t = (*t)[:len(*t)-1] }
func (t trail) at(i int)               { t[len(t)-1].index = i }
func (t trail) pointer() fault.Pointer { return t.under() }

// under returns the pointer of the entry with these keys below the trail.
func (t trail) under(keys ...string) fault.Pointer {
	var p fault.Pointer
	for _, s := range t {
		if s.array {
			p = p.Index(s.index)
		} else {
			p = p.At(s.key)
		}
	}
	return p.At(keys...)
}
