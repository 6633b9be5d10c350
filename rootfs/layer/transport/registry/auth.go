package registry

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/files"
	"berth/rootfs/layer/transport/ref"
)

// credentials finds who we are for the registry of r. Of the files the first that knows the registry counts, as in
// containers-auth.json(5); a file that was named must be there.
func credentials(r ref.Ref, o Options) (authn.Authenticator, error) {
	if o.Creds != "" {
		user, password, found := strings.Cut(o.Creds, ":")
		if !found || user == "" {
			return nil, &fault.Error{Op: "read credentials", Msg: "not USER:PASSWORD"}
		}
		return authn.FromConfig(authn.AuthConfig{Username: user, Password: password}), nil
	}
	for _, path := range authFiles(o) {
		cfg, err := inFile(path, r)
		if files.Missing(err) && path != o.AuthFile {
			continue
		}
		if err != nil {
			return nil, &fault.Error{Op: "read credentials", Path: path, Err: err}
		}
		if cfg != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{Username: cfg.Username, Password: cfg.Password, Auth: cfg.Auth,
				IdentityToken: cfg.IdentityToken, RegistryToken: cfg.RegistryToken}), nil
		}
	}
	return authn.Anonymous, nil
}

// authFiles lists where credentials may be, the first to look at first.
func authFiles(o Options) []string {
	if o.AuthFile != "" {
		return []string{o.AuthFile}
	}
	if path := os.Getenv("REGISTRY_AUTH_FILE"); path != "" {
		return []string{path}
	}
	var paths []string
	add := func(base string, parts ...string) {
		if base != "" {
			paths = append(paths, filepath.Join(append([]string{base}, parts...)...))
		}
	}
	home := os.Getenv("HOME")
	add(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if xdg := os.Getenv("XDG_CONFIG_HOME"); xdg != "" {
		add(xdg, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	if docker := os.Getenv("DOCKER_CONFIG"); docker != "" {
		add(docker, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	return paths
}

// inFile returns what the file says of the repository of r, of a part of its path or of its host.
func inFile(path string, r ref.Ref) (types.AuthConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return types.AuthConfig{}, err
	}
	defer f.Close()
	cf, err := config.LoadFromReader(f)
	if err != nil {
		return types.AuthConfig{}, err
	}
	for key := r.Host + "/" + r.Name; key != r.Host; key = key[:strings.LastIndexByte(key, '/')] {
		if cfg, ok := cf.AuthConfigs[key]; ok {
			return clean(cfg), nil
		}
	}
	for _, key := range hostKeys(r.Host) {
		cfg, err := ofHost(cf, key)
		if err != nil || cfg != (types.AuthConfig{}) {
			return cfg, err
		}
	}
	return types.AuthConfig{}, nil
}

// hostKeys lists the names that files have for a host: Docker Hub's are older than Docker Hub.
func hostKeys(host string) []string {
	if host == ref.DefaultHost {
		return []string{ref.DefaultHost, authn.DefaultAuthKey}
	}
	return []string{host}
}

// ofHost asks the file, or the credential helper that it names.
func ofHost(cf *configfile.ConfigFile, host string) (types.AuthConfig, error) {
	cfg, err := cf.GetAuthConfig(host)
	return clean(cfg), err
}

// clean leaves out what only says which server was asked.
func clean(cfg types.AuthConfig) types.AuthConfig {
	cfg.ServerAddress = ""
	return cfg
}

// tlsConfig returns whom to trust: the system's authorities and those in the directory for the host.
func tlsConfig(host string, o Options) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CertDir != "" {
		return c, addCertificates(c, o.CertDir, true)
	}
	for _, dir := range []string{"/etc/containers/certs.d", "/etc/docker/certs.d"} {
		if err := addCertificates(c, filepath.Join(dir, host), false); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// addCertificates reads a directory as containers-certs.d(5) says: *.crt are authorities, X.cert and X.key are ours.
func addCertificates(c *tls.Config, dir string, must bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if files.Missing(err) && !must {
			return nil
		}
		return fault.From(err, "read certificates", dir)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch filepath.Ext(path) {
		case ".crt":
			err = addAuthority(c, path)
		case ".cert":
			var ours tls.Certificate
			ours, err = tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
			c.Certificates = append(c.Certificates, ours)
		}
		if err != nil {
			return &fault.Error{Op: "read certificate", Path: path, Err: err}
		}
	}
	return nil
}

func addAuthority(c *tls.Config, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if c.RootCAs == nil {
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
	}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return &fault.Error{Msg: "no certificate in it"}
	}
	return nil
}
