package fault

import "errors"

// Undo collects what takes back what was done. Run it on failure, Release it
// on success:
//
//	var undo fault.Undo
//	defer func() { err = undo.OnError(err) }()
//	undo.Add(func() error { return os.Remove(dir) })
type Undo []func() error

// Add registers one more step back; the last added runs first.
func (u *Undo) Add(back func() error) { *u = append(*u, back) }

// OnError runs all steps back where err is not nil, and returns err with
// whatever went wrong on the way back.
func (u *Undo) OnError(err error) error {
	if err == nil {
		return nil
	}
	errs := []error{err}
	for i := len(*u) - 1; i >= 0; i-- {
		errs = append(errs, (*u)[i]())
	}
	*u = nil
	if joined := errors.Join(errs[1:]...); joined != nil {
		return errors.Join(errs...)
	}
	return err
}
