package supervise

import "os"

// Options are what Foreground supervises. Process and, except for Detach,
// Signals are needed.
type Options struct {
	Process Process
	Signals *Signals // from NewSignals; Foreground stops it
	TTY     *TTY     // nil without a terminal; Foreground closes it
	Notify  *Notify  // nil without a NOTIFY_SOCKET; Foreground closes it

	// Detach makes Foreground return at once with success, or where there is a
	// Notify as soon as the container is ready or has ended.
	Detach bool
}

// Foreground is the second half of `run`: it connects the terminal, forwards
// signals to the container's process and returns when that has ended, with how
// it has. The terminal is restored in any case.
func Foreground(o Options) (exit ExitStatus, err error) {
	defer o.close()
	if o.Detach {
		return 0, o.detached()
	}
	if err := o.TTY.Start(); err != nil {
		return 0, err
	}
	o.Notify.Start(os.Getpid())
	status, err := o.Signals.Wait(o.Process, o.TTY.Resize)
	o.TTY.finish(o.Signals)
	return status, err
}

// detached ends the collecting first: a manager that loses patience must be
// able to end a runtime that waits for READY=1.
func (o Options) detached() error {
	if o.Signals != nil {
		o.Signals.Stop()
		o.pass()
	}
	return o.Notify.WaitReady(o.Process)
}

// pass forwards what had been collected.
func (o Options) pass() {
	for _, sig := range o.Signals.late {
		o.Process.deliver(sig)
	}
}

func (o Options) close() {
	o.TTY.Close()
	o.Notify.Close()
	o.Signals.Stop()
}
