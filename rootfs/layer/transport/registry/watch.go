package registry

import (
	"context"
	"errors"
	"io"
	"time"
)

// errIdle is the end of a connection on which nothing has moved for too long.
var errIdle = errors.New("nothing came for too long")

// watcher ends a request on which nothing moves.
type watcher struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func watch(ctx context.Context, idle time.Duration) *watcher {
	ctx, cancel := context.WithCancelCause(ctx)
	return &watcher{ctx, cancel, time.AfterFunc(idle, func() { cancel(errIdle) }), idle}
}

func (w *watcher) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause returns errIdle in the place of the error that it led to.
func (w *watcher) cause(err error) error {
	if errors.Is(context.Cause(w.ctx), errIdle) {
		return errIdle
	}
	return err
}

// reader tells the watcher of all that is read from r. Closing it does not end the watch.
func (w *watcher) reader(r io.ReadCloser) io.ReadCloser { return &watched{r, w, false} }

// response is reader for the last that is watched: closing it ends the watch.
func (w *watcher) response(r io.ReadCloser) io.ReadCloser { return &watched{r, w, true} }

type watched struct {
	io.ReadCloser
	by   *watcher
	last bool
}

func (r *watched) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.by.timer.Reset(r.by.idle)
	}
	if err != nil && err != io.EOF {
		err = r.by.cause(err)
	}
	return n, err
}

func (r *watched) Close() error {
	err := r.ReadCloser.Close()
	if r.last {
		r.by.stop()
	}
	return err
}
