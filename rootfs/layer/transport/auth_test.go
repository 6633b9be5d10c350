package transport_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const user, password = "someone", "pass:word"

// basic lets in who has the password.
func basic(r *http.Request) bool {
	u, p, ok := r.BasicAuth()
	return ok && u == user && p == password
}

func authFile(t *testing.T, host, name, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	auth := base64.StdEncoding.EncodeToString([]byte(name + ":" + secret))
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBasicAuthentication(t *testing.T) {
	s := &server{image: twoLayers(t)}
	s.do = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if basic(r) {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	at, o := s.start(t)
	host := strings.Split(at, "/")[2]
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"} {
		t.Setenv(name, "")
	}
	place := func(parts ...string) string {
		dir := t.TempDir()
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(authFile(t, host, user, password), path); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	helper := t.TempDir()
	script := "#!/bin/sh\nread host\necho '{\"Username\":\"" + user + "\",\"Secret\":\"" + password + "\"}'\n"
	if err := os.WriteFile(filepath.Join(helper, "docker-credential-berthtest"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(helper, "config.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"berthtest"}}`, host), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		creds, file string
		env         map[string]string
		want        string
	}{
		"--creds":                {creds: user + ":" + password},
		"wrong --creds":          {creds: user + ":x", want: "--creds"},
		"--creds of no user":     {creds: "x", want: "USER:PASSWORD"},
		"--authfile":             {file: authFile(t, host, user, password)},
		"--authfile by path":     {file: authFile(t, host+"/it", user, password)},
		"--authfile of others":   {file: authFile(t, "other.example", user, password), want: "401"},
		"--authfile not there":   {file: "/nonexistent", want: "/nonexistent"},
		"--authfile is no JSON":  {file: "/proc/self/cmdline", want: "/proc/self/cmdline"},
		"--creds before a file":  {creds: user + ":" + password, file: authFile(t, host, user, "x")},
		"$REGISTRY_AUTH_FILE":    {env: map[string]string{"REGISTRY_AUTH_FILE": authFile(t, host, user, password)}},
		"runtime directory":      {env: map[string]string{"XDG_RUNTIME_DIR": place("containers", "auth.json")}},
		"configuration":          {env: map[string]string{"XDG_CONFIG_HOME": place("containers", "auth.json")}},
		"~/.config":              {env: map[string]string{"HOME": place(".config", "containers", "auth.json")}},
		"~/.docker":              {env: map[string]string{"HOME": place(".docker", "config.json")}},
		"$DOCKER_CONFIG":         {env: map[string]string{"DOCKER_CONFIG": place("config.json")}},
		"a credential helper":    {file: filepath.Join(helper, "config.json"), env: map[string]string{"PATH": helper + ":" + os.Getenv("PATH")}},
		"a helper not there":     {file: filepath.Join(helper, "config.json"), want: "config.json"},
		"none":                   {want: "401"},
		"the next file is asked": {env: map[string]string{"XDG_RUNTIME_DIR": "/nonexistent", "DOCKER_CONFIG": place("config.json")}},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			o := o
			o.Registry.Creds, o.Registry.AuthFile = c.creds, c.file
			_, err := pull(t, at, o)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the password is in %v", err)
			}
		})
	}
}

// tokens is a registry with its own token server; each token is good for some requests.
type tokens struct {
	server
	good    int // requests a token is good for
	issued  atomic.Int64
	uses    atomic.Int64
	refused atomic.Int64
	scope   atomic.Value
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		if !basic(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.scope.Store(strings.Join(r.URL.Query()["scope"], " "))
		s.uses.Store(0)
		fmt.Fprintf(w, `{"token":"t%d"}`, s.issued.Add(1))
		return
	}
	if r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", s.issued.Load()) || s.uses.Add(1) > int64(s.good) {
		s.refused.Add(1)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x",scope="repository:it:pull"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.server.ServeHTTP(w, r)
}

// TestBearerTokenExpires: each request needs a new token, also those that go on with a blob that broke off.
func TestBearerTokenExpires(t *testing.T) {
	s := &tokens{good: 1}
	s.image = twoLayers(t)
	s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if s.big(r) && n < 3 && r.Method == http.MethodGet {
			half(w, s.content[s.layers[1].Digest], 70_000)
		}
		return false
	}
	web := httptest.NewServer(s)
	defer web.Close()
	o := quick
	o.Registry.Creds = user + ":" + password
	got, err := pull(t, "docker://"+web.Listener.Addr().String()+"/it", o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s.image, got)
	if s.issued.Load() < 5 || s.scope.Load() != "repository:it:pull" {
		t.Errorf("%d tokens, scope %v", s.issued.Load(), s.scope.Load())
	}
	o.Registry.Creds = user + ":wrong"
	if _, err := pull(t, "docker://"+web.Listener.Addr().String()+"/it", o); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}

// TestCredentialsStayHome: a redirect to another host, another port being another host, takes no credentials along.
func TestCredentialsStayHome(t *testing.T) {
	for _, kind := range []string{"basic", "bearer"} {
		t.Run(kind, func(t *testing.T) {
			other := &server{image: twoLayers(t)}
			other.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 { // it asks for them, too
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					if kind == "bearer" {
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
					}
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				return false
			}
			elsewhere := httptest.NewServer(other)
			defer elsewhere.Close()
			redirect := func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			var handler http.Handler
			if kind == "bearer" {
				s := &tokens{good: 1000}
				s.image, s.do = other.image, redirect
				handler = s
			} else {
				s := &server{image: other.image}
				s.do = func(w http.ResponseWriter, r *http.Request, n int) bool {
					if !basic(r) {
						w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
						w.WriteHeader(http.StatusUnauthorized)
						return true
					}
					return redirect(w, r, n)
				}
				handler = s
			}
			home := httptest.NewServer(handler)
			defer home.Close()
			o := quick
			o.Registry.Creds = user + ":" + password
			// Whether the other host lets us in without is its affair.
			_, err := pull(t, "docker://"+home.Listener.Addr().String()+"/it", o)
			if len(other.header) == 0 {
				t.Fatalf("nobody was redirected: %v", err)
			}
			for _, h := range other.header {
				if h.Get("Authorization") != "" {
					t.Errorf("%q was sent elsewhere", h.Get("Authorization"))
				}
			}
		})
	}
}

func TestTLS(t *testing.T) {
	s := &server{image: twoLayers(t)}
	web := httptest.NewUnstartedServer(s)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	certs := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "ca.crt"), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "docker://" + web.Listener.Addr().String() + "/it"
	for name, c := range map[string]struct {
		dir      string
		insecure bool
		want     string
	}{
		"authority":            {dir: certs},
		"--tls-verify=false":   {insecure: true},
		"unknown authority":    {want: "certificate"},
		"no certificate in it": {dir: bad, want: "ca.crt"},
		"no directory":         {dir: "/nonexistent", want: "/nonexistent"},
	} {
		o := quick
		o.Registry.CertDir, o.Registry.Insecure = c.dir, c.insecure
		got, err := pull(t, at, o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if err == nil {
			same(t, s.image, got)
		}
	}
}

// TestClientCertificate: X.cert and X.key of --cert-dir say who we are.
func TestClientCertificate(t *testing.T) {
	s := &server{image: twoLayers(t)}
	web := httptest.NewUnstartedServer(s)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	web.StartTLS()
	defer web.Close()
	o := quick
	o.Registry.CertDir = t.TempDir()
	at := "docker://" + web.Listener.Addr().String() + "/it"
	write(t, filepath.Join(o.Registry.CertDir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	if _, err := pull(t, at, o); err == nil {
		t.Error("let in without a certificate")
	}
	dir := t.TempDir()
	certificate, key := selfMade(t, dir, dir)
	for from, to := range map[string]string{certificate: "us.cert", key: "us.key"} {
		if err := os.Rename(from, filepath.Join(o.Registry.CertDir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pull(t, at, o); err != nil {
		t.Error(err)
	}
}

// TestProxy: what goes to another host goes through the proxy of the environment. That is read once in a process.
func TestProxy(t *testing.T) {
	const name = "docker://registry.example:5000/it"
	if os.Getenv("BERTH_TEST_PROXY") != "" {
		o := quick
		o.Registry.Insecure = true
		if _, err := pull(t, name, o); err != nil {
			t.Fatal(err)
		}
		return
	}
	s := &server{image: twoLayers(t)}
	asked := ""
	s.do = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		asked = r.Host
		return false
	}
	at, _ := s.start(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestProxy$")
	cmd.Env = append(os.Environ(), "BERTH_TEST_PROXY=1", "HTTP_PROXY=http://"+strings.Split(at, "/")[2], "HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=")
	if out, err := cmd.CombinedOutput(); err != nil || asked != "registry.example:5000" {
		t.Errorf("%s%v, asked for %q", out, err, asked)
	}
}
