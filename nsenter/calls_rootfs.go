package nsenter

// Into makes the last step's result go into r instead of a register of its
// own, for a second way to the same descriptor. It returns the step.
func (b *Builder) Into(r Reg) *Step {
	s := b.Last()
	if s.Result != r {
		b.free = append(b.free, s.Result)
	}
	s.Result = r
	return s
}
