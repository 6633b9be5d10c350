package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/verify"
)

// maxPause is the longest pause between retries, also one that the registry asks for.
const maxPause = 2 * time.Minute

// permanent is an error that no retry mends.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// lie is a permanent error about what the registry sent.
func lie(path, format string, args ...any) error {
	return permanent{&fault.Error{Op: "read", Path: path, Msg: fmt.Sprintf(format, args...), Code: verify.Code}}
}

// later is an error after which the registry asks to wait.
type later struct {
	error
	wait time.Duration
}

func (l later) Unwrap() error { return l.error }

// withRetryAfter adds what the header Retry-After says (RFC 9110, 10.2.3): seconds or a date.
func withRetryAfter(err error, h http.Header) error {
	value := h.Get("Retry-After")
	if seconds, e := strconv.ParseUint(value, 10, 31); e == nil {
		return later{err, time.Duration(seconds) * time.Second}
	}
	if date, e := http.ParseTime(value); e == nil {
		return later{err, max(0, time.Until(date))}
	}
	return err
}

// temporary says whether the same request may succeed later: what is not known to be for good may.
func temporary(err error) bool {
	var status *transport.Error
	if errors.As(err, &status) {
		return slices.Contains([]int{408, 429, 500, 502, 503, 504}, status.StatusCode)
	}
	var (
		stop    permanent
		name    *net.DNSError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		check   *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
	)
	return !errors.As(err, &stop) && !errors.Is(err, context.Canceled) &&
		!errors.As(err, &unknown) && !errors.As(err, &invalid) && !errors.As(err, &host) && !errors.As(err, &check) &&
		!errors.As(err, &alert) && !errors.As(err, &record) && !errors.Is(err, http.ErrSchemeMismatch) &&
		!(errors.As(err, &name) && name.IsNotFound)
}

// patience counts failures in a row.
type patience struct {
	of       *client
	failures int
}

// pause waits after err, longer each time, or returns err where there is no hope.
func (p *patience) pause(ctx context.Context, err error) error {
	p.failures++
	if !temporary(err) || ctx.Err() != nil {
		return err
	}
	if p.failures > p.of.Retries {
		return &fault.Error{Op: "try", Msg: fmt.Sprintf("given up after %d attempts", p.failures), Err: err}
	}
	wait := min(p.of.Backoff<<(p.failures-1), maxPause)
	wait += rand.N(wait/4 + 1)
	var asked later
	if errors.As(err, &asked) {
		if asked.wait > maxPause {
			return &fault.Error{Op: "try", Msg: fmt.Sprintf("the registry asks to wait for %v", asked.wait.Round(time.Second)), Err: err}
		}
		wait = max(wait, asked.wait)
	}
	if p.of.Waiting != nil {
		p.of.Waiting(err, wait)
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retry runs do until it succeeds or fails for good.
func (c *client) retry(ctx context.Context, do func() error) error {
	p := patience{of: c}
	for {
		err := do()
		if err == nil {
			return nil
		}
		if err = p.pause(ctx, err); err != nil {
			return err
		}
	}
}

// explain adds what can be done about err.
func explain(err error) error {
	var status *transport.Error
	var certificate *tls.CertificateVerificationError
	e := &fault.Error{Err: err}
	switch {
	case errors.As(err, &certificate):
		e.Code, e.Hint = "certificate", "--cert-dir names a directory with the authority's .crt; --tls-verify=false trusts anybody"
	case !errors.As(err, &status):
		return err
	case status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden:
		e.Code, e.Hint = "unauthorized", "credentials come from --creds, --authfile, $REGISTRY_AUTH_FILE, containers/auth.json or ~/.docker/config.json"
	case status.StatusCode == http.StatusNotFound:
		e.Code = "not-found"
	default:
		return err
	}
	return e
}
