package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/registry"
)

// htpasswd is of user with password, bcrypt.
const htpasswd = user + ":$2b$05$abcdefghijklmnopqrstuuDIEddBSuRWBBEY6g5zv60IAP5bSSfki\n"

// debian is Debian's docker-registry on loopback.
type debian struct {
	host  string
	certs string // where its authority is; empty: plain http
	o     transport.Options
	skop  []string // what tells skopeo how to connect: --WHICHtls-verify, --WHICHcreds, --WHICHcert-dir
}

func startDebian(t *testing.T, secured bool) *debian {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("[docker-registry] needs Debian's docker-registry")
	}
	dir := t.TempDir()
	r := &debian{host: freePort(t), o: quick, skop: []string{"tls-verify=false"}}
	config := map[string]any{
		"version": "0.1", "log": map[string]any{"level": "error", "accesslog": map[string]any{"disabled": true}},
		"storage": map[string]any{"filesystem": map[string]any{"rootdirectory": filepath.Join(dir, "data")}, "delete": map[string]any{"enabled": true}},
	}
	web := map[string]any{"addr": r.host}
	config["http"] = web
	if secured {
		r.certs = t.TempDir()
		certificate, key := selfMade(t, r.certs, dir)
		web["tls"] = map[string]any{"certificate": certificate, "key": key}
		path := filepath.Join(dir, "htpasswd")
		write(t, path, []byte(htpasswd))
		config["auth"] = map[string]any{"htpasswd": map[string]any{"realm": "berth", "path": path}}
		r.o.Registry.Creds, r.o.Registry.CertDir = user+":"+password, r.certs
		r.skop = []string{"cert-dir=" + r.certs, "creds=" + user + ":" + password}
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.yml"), raw)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", filepath.Join(dir, "config.yml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.host); err == nil {
			c.Close()
			return r
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("docker-registry does not listen: %s", said)
		}
	}
}

func (r *debian) name(s string) string { return "docker://" + r.host + "/" + s }

// flags are skopeo's for this registry; which is "src-", "dest-" or "".
func (r *debian) flags(which string) []string {
	var all []string
	for _, f := range r.skop {
		all = append(all, "--"+which+f)
	}
	return all
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// selfMade makes an authority, whose certificate goes to certs, and a server's certificate for 127.0.0.1 in dir.
func selfMade(t *testing.T, certs, dir string) (certificate, key string) {
	t.Helper()
	template := func(n int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	}
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	store := func(path, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		return path
	}
	caKey, serverKey := newKey(), newKey()
	ca := template(1, "authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	store(filepath.Join(certs, "ca.crt"), "CERTIFICATE", der, err)
	server := template(2, "server")
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err = x509.CreateCertificate(rand.Reader, server, ca, &serverKey.PublicKey, caKey)
	certificate = store(filepath.Join(dir, "server.crt"), "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(serverKey)
	return certificate, store(filepath.Join(dir, "server.key"), "EC PRIVATE KEY", der, err)
}

func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("[skopeo] needs skopeo")
	}
	cmd := exec.Command("skopeo", append([]string{"--insecure-policy", "--tmpdir", t.TempDir()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eachDebian runs a test with a plain registry, and with one that has TLS and a password.
func eachDebian(t *testing.T, do func(t *testing.T, r *debian)) {
	for name, secured := range map[string]bool{"plain": false, "TLS and password": true} {
		t.Run(name, func(t *testing.T) { do(t, startDebian(t, secured)) })
	}
}

// twoPlatforms is an index of two images.
func twoPlatforms(t *testing.T) *image {
	m := newImage()
	arm := m.image(t, &v1.Platform{OS: "linux", Architecture: "arm64"}, []byte("arm"))
	m.index(t, arm, m.image(t, &v1.Platform{OS: "linux", Architecture: "amd64"}, noise(1, 100), noise(2, 3<<20)))
	return m
}

func TestDebianRegistry(t *testing.T) {
	eachDebian(t, func(t *testing.T, r *debian) {
		m := twoPlatforms(t)
		for _, chunk := range []int64{0, 1 << 20} {
			o := r.o
			o.Registry.ChunkSize = chunk
			name := r.name(fmt.Sprintf("some/name%d", chunk))
			push(t, m, name+":tag", o)
			for _, which := range []string{":tag", "@" + string(m.root.Digest)} {
				got, err := pull(t, name+which, o)
				if err != nil {
					t.Fatal(err)
				}
				same(t, m, got)
			}
		}
		o := r.o
		o.Registry.MountFrom = []string{"no/such", "some/name0"}
		d, err := transport.Create(t.Context(), parse(t, r.name("other/name")), o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		existed, err := d.PutBlob(t.Context(), m.layers[1], func(int64) (io.ReadCloser, error) { panic("not mounted") })
		if err != nil || !existed {
			t.Errorf("not mounted: %v", err)
		}
		if r.certs == "" {
			return
		}
		o = r.o
		o.Registry.Creds = user + ":wrong"
		if _, err := pull(t, r.name("some/name0:tag"), o); err == nil || !strings.Contains(err.Error(), "--creds") {
			t.Error(err)
		}
		o.Registry.Creds, o.Registry.CertDir = user+":"+password, ""
		if _, err := pull(t, r.name("some/name0:tag"), o); err == nil || !strings.Contains(err.Error(), "--cert-dir") {
			t.Error(err)
		}
	})
}

func TestDebianRegistryDeletes(t *testing.T) {
	r := startDebian(t, true)
	m := twoLayers(t)
	push(t, m, r.name("it:tag"), r.o)
	err := registry.Delete(t.Context(), parse(t, r.name("it:tag")), r.o.Registry)
	if err == nil || !strings.Contains(err.Error(), "@DIGEST") { // distribution 2 cannot delete tags
		t.Error(err)
	}
	if _, err := pull(t, r.name("it:tag"), r.o); err != nil {
		t.Error(err)
	}
	if err := registry.Delete(t.Context(), parse(t, r.name("it@"+string(m.root.Digest))), r.o.Registry); err != nil {
		t.Error(err)
	}
	if _, err := pull(t, r.name("it:tag"), r.o); err == nil || !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
		t.Error(err)
	}
}

// cutter passes connections on to a registry, and cuts each of the first ones when it has carried so many bytes.
type cutter struct {
	host string
	to   string
	mu   sync.Mutex
	left int // connections to cut
	down int64
	up   int64
}

func newCutter(t *testing.T, to string, left int, down, up int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{host: l.Addr().String(), to: to, left: left, down: down, up: up}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(from)
		}
	}()
	return c
}

func (c *cutter) uncut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func (c *cutter) carry(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan bool, 2)
	pass := func(to io.Writer, from io.Reader, most int64) {
		_, err := io.CopyN(to, from, most)
		if err == nil { // it was so many
			c.mu.Lock()
			cut := c.left > 0
			c.left--
			c.mu.Unlock()
			if !cut {
				io.Copy(to, from)
			}
		}
		done <- true
	}
	go pass(from, to, c.down)
	go pass(to, from, c.up)
	<-done
}

// TestDebianRegistryThroughBrokenConnections: pull and push arrive nevertheless.
func TestDebianRegistryThroughBrokenConnections(t *testing.T) {
	r := startDebian(t, false)
	m := twoPlatforms(t)
	up := newCutter(t, r.host, 3, 1<<40, 1<<20)
	push(t, m, "docker://"+up.host+"/up:tag", r.o)
	if n := up.uncut(); n > 0 {
		t.Errorf("%d connections were not cut", n)
	}
	down := newCutter(t, r.host, 3, 900<<10, 1<<40)
	got, err := pull(t, "docker://"+down.host+"/up:tag", r.o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, got)
	if n := down.uncut(); n > 0 {
		t.Errorf("%d connections were not cut", n)
	}
}

// TestSkopeoAndRegistry: what one pushes the other pulls.
func TestSkopeoAndRegistry(t *testing.T) {
	eachDebian(t, func(t *testing.T, r *debian) {
		m := twoPlatforms(t)
		push(t, m, r.name("ours:tag"), r.o)
		out := skopeo(t, append([]string{"inspect", "--raw", r.name("ours:tag")}, r.flags("")...)...)
		if strings.TrimSpace(out) != string(m.content[m.root.Digest]) {
			t.Errorf("skopeo inspect: %s", out)
		}
		dir := t.TempDir()
		skopeo(t, append([]string{"copy", "-q", "--all", r.name("ours:tag"), "dir:" + dir + "/theirs"}, r.flags("src-")...)...)
		got, err := pull(t, "dir:"+dir+"/theirs", transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, m, got)
		for _, form := range []string{"oci", "v2s2"} {
			skopeo(t, append([]string{"copy", "-q", "--format", form, "dir:" + dir + "/theirs", r.name("theirs:" + form)}, r.flags("dest-")...)...)
			got, err = pull(t, r.name("theirs:"+form), r.o)
			if err != nil {
				t.Fatal(err)
			}
			same(t, m, got)
		}
	})
}

// TestSkopeoAndFiles: what one writes the other reads.
func TestSkopeoAndFiles(t *testing.T) {
	m := twoLayers(t)
	m.image(t, nil, noise(1, 3000), noise(2, 300_000), noise(1, 3000)) // the first layer twice
	for _, name := range []string{"oci:%s:tag", "oci-archive:%s:tag", "docker-archive:%s:it:tag", "dir:%s"} {
		dir := t.TempDir()
		ours, theirs, back := fmt.Sprintf(name, dir+"/ours"), fmt.Sprintf(name, dir+"/theirs"), "oci:"+dir+"/back:tag"
		push(t, m, ours, transport.Options{})
		skopeo(t, "copy", "-q", ours, back)
		skopeo(t, "copy", "-q", back, theirs)
		for _, at := range []string{back, theirs} {
			got, err := pull(t, at, transport.Options{})
			if err != nil {
				t.Fatal(at, err)
			}
			same(t, m, got)
		}
	}
}

// TestSkopeoIndexes: as TestSkopeoAndFiles, with more than one image.
func TestSkopeoIndexes(t *testing.T) {
	m := twoPlatforms(t)
	for _, name := range []string{"oci:%s:tag", "oci-archive:%s:tag", "dir:%s"} {
		dir := t.TempDir()
		ours, theirs := fmt.Sprintf(name, dir+"/ours"), fmt.Sprintf(name, dir+"/theirs")
		push(t, m, ours, transport.Options{})
		skopeo(t, "copy", "-q", "--all", ours, theirs)
		s, err := transport.Open(t.Context(), parse(t, theirs), transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Root().Digest != m.root.Digest {
			t.Errorf("%s: root %s", theirs, s.Root().Digest)
		}
		got, err := pullFrom(t.Context(), s)
		if err != nil {
			t.Fatal(theirs, err)
		}
		same(t, m, got)
		s.Close()
	}
}
