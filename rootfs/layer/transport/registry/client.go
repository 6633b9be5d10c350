// Package registry pulls from and pushes to registries of the OCI distribution specification. Challenges, tokens and
// credential helpers are go-containerregistry's; resuming, retrying, and what may be sent where are here.
package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/ref"
)

// Options say how to talk to a registry. The zero value is good.
type Options struct {
	Creds     string        // USER:PASSWORD; else AuthFile and the usual files are looked at
	AuthFile  string        // in the form of ~/.docker/config.json
	CertDir   string        // *.crt authorities, *.cert and *.key for us; else certs.d/HOST of Docker and containers
	Insecure  bool          // unknown certificates and plain http are good enough; loopback may always be plain
	MountFrom []string      // for pushing: repositories of the same registry that may have the blobs
	ChunkSize int64         // for pushing: the longest body of a request, in bytes; 0 for no limit
	Retries   int           // in a row and without progress; 5 if 0
	Backoff   time.Duration // the first pause between retries, doubled each time; 300 ms if 0
	Idle      time.Duration // how long nothing may move before a connection is given up; 60 s if 0
	// Waiting is told, from any goroutine, what failed before it is tried again after wait. May be nil.
	Waiting func(failed error, wait time.Duration)
}

func (o Options) withDefaults() Options {
	o.Retries = cmp.Or(o.Retries, 5)
	o.Backoff = cmp.Or(o.Backoff, 300*time.Millisecond)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	return o
}

// maxRedirects is how many redirects in a row are followed.
const maxRedirects = 10

// client talks to one repository.
type client struct {
	Options
	ref  ref.Ref
	base url.URL // https://HOST/v2/NAME/; the transport makes it http where that is spoken
	http *http.Client
	anon *http.Client // for other places: it never has credentials
}

// connect finds out how the registry wants to be spoken to. Actions are those of a token: "pull" or "pull,push".
func connect(ctx context.Context, r ref.Ref, o Options, actions string) (*client, error) {
	c := &client{Options: o.withDefaults(), ref: r}
	registry, err := name.NewRegistry(r.Host, insecure(o.Insecure || isLoopback(r.Host))...)
	if err != nil {
		return nil, &fault.Error{Op: "parse", Path: r.Host, Err: err}
	}
	who, err := credentials(r, o)
	if err != nil {
		return nil, err
	}
	trusted, err := tlsConfig(r.Host, o)
	if err != nil {
		return nil, err
	}
	scopes, err := scopes(r, o, actions)
	if err != nil {
		return nil, err
	}
	direct := transport.NewUserAgent(&guard{newTransport(trusted, c.Idle), o.Insecure, isLoopback(r.Host)}, "berth-layer")
	authorized, err := c.authorize(ctx, registry, who, direct, scopes)
	if err != nil {
		return nil, err
	}
	c.base = url.URL{Scheme: "https", Host: registry.RegistryStr(), Path: "/v2/" + r.Name + "/"}
	c.http = &http.Client{Transport: authorized, CheckRedirect: checkRedirect}
	c.anon = &http.Client{Transport: direct, CheckRedirect: checkRedirect}
	return c, nil
}

// scopes lists what a token must allow.
func scopes(r ref.Ref, o Options, actions string) ([]string, error) {
	all := []string{"repository:" + r.Name + ":" + actions}
	for _, from := range o.MountFrom {
		if _, err := ref.Parse("docker://" + r.Host + "/" + from); err != nil {
			return nil, err
		}
		all = append(all, "repository:"+from+":pull")
	}
	return all, nil
}

// authorize asks the registry how it wants to be spoken to, and gets the first token.
func (c *client) authorize(ctx context.Context, r name.Registry, who authn.Authenticator, direct http.RoundTripper, scopes []string) (to http.RoundTripper, err error) {
	err = c.retry(ctx, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, 2*c.Idle, errIdle)
		defer cancel()
		to, err = transport.NewWithContext(ctx, r, who, direct, scopes)
		switch {
		case err != nil && context.Cause(ctx) == errIdle:
			return permanent{errIdle}
		case errors.Is(err, syscall.ECONNREFUSED): // most likely a wrong name
			return permanent{err}
		}
		return err
	})
	if err == nil {
		return to, nil
	}
	var status *transport.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &status) && !errors.As(err, &certificate) { // of https and http the one that was understood
		err = status
	}
	return nil, explain(&fault.Error{Op: "connect to", Path: c.ref.Host, Err: err})
}

func insecure(yes bool) []name.Option {
	if yes {
		return []name.Option{name.Insecure}
	}
	return nil
}

func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return permanent{&fault.Error{Msg: "more than 10 redirects"}}
	}
	return nil
}

// newTransport speaks HTTP/1.1 only: a connection for each blob, so that one that breaks or stalls takes no other along.
func newTransport(trusted *tls.Config, idle time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: min(idle, 30*time.Second)}).DialContext,
		TLSClientConfig:        trusted,
		TLSHandshakeTimeout:    min(idle, 30*time.Second),
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // content is what its digest says, as it is
	}
}

// guard sees every request last, redirected ones and those for tokens too.
type guard struct {
	to       http.RoundTripper
	insecure bool // http is allowed
	loopback bool // and so it is to this machine
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.insecure && !(g.loopback && isLoopback(r.URL.Host)) {
		return nil, permanent{&fault.Error{Op: "connect to", Path: r.URL.Host, Msg: "plain " + r.URL.Scheme + " is refused",
			Hint: "--tls-verify=false allows it", Code: "insecure"}}
	}
	resp, err := g.to.RoundTrip(r)
	if err == nil && r.URL.Path == "/v2/" {
		resp.Body = limited{io.LimitReader(resp.Body, 64<<10), resp.Body} // go-containerregistry reads it to the end
	}
	return resp, err
}

type limited struct {
	io.Reader
	io.Closer
}

// isLoopback says whether HOST[:PORT] is this machine by its form.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// request is one request to the registry.
type request struct {
	method    string
	url       *url.URL
	header    http.Header
	body      io.ReadCloser // nil for none
	length    int64         // of body
	want      []int         // good statuses
	slow      bool          // the registry may have to read a whole blob before it answers
	elsewhere bool          // not to the registry: without credentials
}

// slowness is how much longer than others slow requests may take.
const slowness = 10

// at returns the URL of parts below the repository.
func (c *client) at(parts ...string) *url.URL { return c.base.JoinPath(parts...) }

// do sends r once. What comes back has one of the wanted statuses; closing its body frees it.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	idle, via := c.Idle, c.http
	if r.slow {
		idle *= slowness
	}
	if r.elsewhere {
		via = c.anon
	}
	w := watch(ctx, idle)
	req, err := http.NewRequestWithContext(w.ctx, r.method, r.url.String(), nil)
	if err != nil {
		w.stop()
		return nil, err
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	if r.body != nil {
		req.Body, req.ContentLength = w.reader(r.body), r.length
		if r.length == 0 {
			r.body.Close()
			req.Body = http.NoBody
		}
	}
	resp, err := via.Do(req)
	if err == nil {
		err = transport.CheckError(resp, r.want...)
		if err != nil {
			resp.Body.Close()
			w.stop()
			return nil, withRetryAfter(err, resp.Header) // it names the request
		}
	}
	if err != nil {
		err = w.cause(err)
		w.stop()
		return nil, unwrapURL(err, r.method, redacted(r.url))
	}
	resp.Body = w.response(resp.Body)
	return resp, nil
}

// unwrapURL takes off what net/http puts around errors: it prints whole URLs, and those of redirects have secrets in
// their queries.
func unwrapURL(err error, op, path string) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &fault.Error{Op: op, Path: path, Err: err}
}

func redacted(u *url.URL) string { return u.Host + u.Path }
