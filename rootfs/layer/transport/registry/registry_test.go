package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/ref"
)

type sink struct{ n int }

func (s *sink) RoundTrip(*http.Request) (*http.Response, error) {
	s.n++
	return &http.Response{Body: http.NoBody}, nil
}

// TestPlainHTTP: go-containerregistry would speak it to private addresses and .local names too.
func TestPlainHTTP(t *testing.T) {
	for _, c := range []struct {
		url                string
		insecure, loopback bool
		sent               bool
	}{
		{"https://host.example/v2/", false, false, true},
		{"http://host.example/v2/", false, false, false},
		{"http://10.0.0.1/v2/", false, false, false},
		{"http://name.local/v2/", false, false, false},
		{"http://127.0.0.1:5000/v2/", false, false, false}, // a redirect, for the registry is not on loopback
		{"http://127.0.0.1:5000/v2/", false, true, true},
		{"http://[::1]:5000/v2/", false, true, true},
		{"http://localhost/v2/", false, true, true},
		{"http://localhost.example/v2/", false, true, false},
		{"http://host.example/v2/", true, false, true},
	} {
		s := &sink{}
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&guard{s, c.insecure, c.loopback}).RoundTrip(&http.Request{URL: u})
		if (s.n == 1) != c.sent || (err == nil) != c.sent {
			t.Errorf("%+v: sent %d times, %v", c, s.n, err)
		}
	}
}

func TestTemporary(t *testing.T) {
	status := func(code int) error {
		return &fault.Error{Op: "GET", Err: &transport.Error{StatusCode: code}}
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{status(429), true}, {status(500), true}, {status(502), true}, {status(503), true}, {status(504), true}, {status(408), true},
		{status(400), false}, {status(401), false}, {status(403), false}, {status(404), false}, {status(416), false}, {status(501), false},
		{io.ErrUnexpectedEOF, true},
		{&fault.Error{Err: syscall.ECONNRESET}, true},
		{&net.OpError{Err: syscall.ECONNREFUSED}, true},
		{errIdle, true},
		{&net.DNSError{IsNotFound: true}, false},
		{&net.DNSError{IsTemporary: true}, true},
		{&fault.Error{Err: permanent{errors.New("x")}}, false},
		{lie("x", "y"), false},
		{fmt.Errorf("x: %w", http.ErrSchemeMismatch), false},
	} {
		if got := temporary(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		value    string
		from, to time.Duration
	}{
		{"", -1, -1},
		{"x", -1, -1},
		{"-5", -1, -1},
		{"0", 0, 0},
		{"7", 7 * time.Second, 7 * time.Second},
		{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 59 * time.Minute, time.Hour},
		{"Mon, 02 Jan 2006 15:04:05 GMT", 0, 0},
	} {
		got := time.Duration(-1)
		var l later
		if errors.As(withRetryAfter(io.EOF, http.Header{"Retry-After": {c.value}}), &l) {
			got = l.wait
		}
		if got < c.from || got > c.to {
			t.Errorf("%q: %v", c.value, got)
		}
	}
}

func TestPatienceWaitsAsAsked(t *testing.T) {
	var told []time.Duration
	p := patience{of: &client{Options: Options{Backoff: time.Microsecond, Retries: 2,
		Waiting: func(_ error, wait time.Duration) { told = append(told, wait) }}}}
	begun := time.Now()
	if err := p.pause(t.Context(), later{io.ErrUnexpectedEOF, 50 * time.Millisecond}); err != nil || time.Since(begun) < 50*time.Millisecond {
		t.Error(err, time.Since(begun))
	}
	if err := p.pause(t.Context(), io.ErrUnexpectedEOF); err != nil {
		t.Error(err)
	}
	if err := p.pause(t.Context(), io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if len(told) != 2 || told[0] != 50*time.Millisecond {
		t.Error(told)
	}
}

func TestContentRange(t *testing.T) {
	for _, c := range []struct {
		in           string
		start, total int64
		ok           bool
	}{
		{"bytes 5-9/10", 5, 10, true},
		{"bytes 5-9/*", 5, -1, true},
		{"bytes */10", 0, 0, false},
		{"5-9/10", 0, 0, false},
		{"", 0, 0, false},
		{"bytes x-9/10", 0, 0, false},
	} {
		start, total, ok := contentRange(c.in)
		if ok != c.ok || ok && (start != c.start || total != c.total) {
			t.Errorf("%q: %d %d %v", c.in, start, total, ok)
		}
	}
}

// TestScopes: a repository to mount from is a name, and no way to ask for more.
func TestScopes(t *testing.T) {
	r := ref.Ref{Transport: ref.Docker, Host: "h.example", Name: "a/b"}
	got, err := scopes(r, Options{MountFrom: []string{"base"}}, "pull,push")
	if err != nil || strings.Join(got, " ") != "repository:a/b:pull,push repository:base:pull" {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "../x", "x:pull repository:secret", "x?y", "X"} {
		if got, err := scopes(r, Options{MountFrom: []string{bad}}, "pull"); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
