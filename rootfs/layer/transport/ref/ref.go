// Package ref reads the names of images: which transport, where, and which image there.
package ref

import (
	_ "crypto/sha256" // the algorithms that a digest may name
	_ "crypto/sha512"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"berth/libcontainer/fault"
)

// Transport is where images are kept; its value is the prefix that names it, without the colon.
type Transport string

// The transports, with skopeo's and podman's names for them.
const (
	Docker        Transport = "docker"         // docker://HOST/NAME[:TAG][@DIGEST], a registry
	OCI           Transport = "oci"            // oci:DIR[:TAG], an image layout
	OCIArchive    Transport = "oci-archive"    // oci-archive:FILE[:TAG], a layout in a tar
	DockerArchive Transport = "docker-archive" // docker-archive:FILE[:NAME:TAG | :@N], what docker save writes
	Dir           Transport = "dir"            // dir:DIR, skopeo's flat directory of one image
)

// Ref names an image. Parse makes valid ones.
type Ref struct {
	Transport Transport
	Path      string        // of all but Docker: the directory or file
	Host      string        // of Docker: host or host:port
	Name      string        // of Docker: the repository. Of DockerArchive: the full name in the archive, with Tag
	Tag       string        // of Docker "latest" where neither tag nor digest is given. Of layouts: the ref.name annotation
	Digest    digest.Digest // of Docker
	Index     int           // of DockerArchive: the Nth image, from 1; 0 if not given
}

// DefaultHost is the registry of a docker:// name without a host.
const DefaultHost = "docker.io"

// Parse reads s. Errors name the part that is wrong.
func Parse(s string) (Ref, error) {
	if strings.ContainsRune(s, 0) {
		return Ref{}, bad(s, "contains a NUL byte", "")
	}
	prefix, rest, found := strings.Cut(s, ":")
	if !found {
		return Ref{}, bad(s, "no transport", "write docker://"+s+", oci:DIR:TAG, oci-archive:FILE, docker-archive:FILE or dir:DIR")
	}
	r := Ref{Transport: Transport(prefix)}
	var err *fault.Error
	switch r.Transport {
	case Docker:
		name, slashes := strings.CutPrefix(rest, "//")
		if !slashes {
			return Ref{}, bad(s, "no // after docker:", "write docker://"+rest)
		}
		err = r.parseDocker(name)
	case OCI, OCIArchive:
		err = r.parseLayout(rest)
	case DockerArchive:
		err = r.parseDockerArchive(rest)
	case Dir:
		r.Path = rest
	default:
		return Ref{}, bad(s, "transport "+strconv.Quote(prefix)+" is not known",
			"known are docker://, oci:, oci-archive:, docker-archive:, dir:; a name from a registry begins with docker://")
	}
	if err == nil && r.Transport != Docker && r.Path == "" {
		err = &fault.Error{Msg: "no path after " + prefix + ":"}
	}
	if err != nil {
		err.Op, err.Path = "parse", s
		return Ref{}, err
	}
	return r, nil
}

func bad(s, msg, hint string) error { return &fault.Error{Op: "parse", Path: s, Msg: msg, Hint: hint} }

// parseDocker reads [HOST[:PORT]/]NAME[:TAG][@DIGEST].
func (r *Ref) parseDocker(s string) *fault.Error {
	name, sum, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if err := digest.Digest(sum).Validate(); err != nil {
			return part("digest", sum, err.Error())
		}
		r.Digest = digest.Digest(sum)
	}
	r.Host, name = cutHost(name)
	name, tag, hasTag := strings.Cut(name, ":")
	switch {
	case hasTag:
		if why := badTag(tag); why != "" {
			return part("tag", tag, why)
		}
		r.Tag = tag
	case !hasDigest:
		r.Tag = "latest"
	}
	if why := badHost(r.Host); why != "" {
		return part("host", r.Host, why)
	}
	if r.Host == DefaultHost && !strings.Contains(name, "/") && name != "" {
		name = "library/" + name
	}
	r.Name = name
	return r.checkName()
}

// cutHost takes the first component as the host where it looks like one, as docker does; else the host is docker.io.
func cutHost(s string) (host, name string) {
	first, rest, found := strings.Cut(s, "/")
	if !found || !strings.ContainsAny(first, ".:[") && first != "localhost" && first == strings.ToLower(first) {
		return DefaultHost, s
	}
	if first == "index.docker.io" || first == "registry-1.docker.io" {
		first = DefaultHost
	}
	return first, rest
}

func (r *Ref) checkName() *fault.Error {
	if r.Name == "" {
		return &fault.Error{Msg: "no repository name"}
	}
	if len(r.Host)+1+len(r.Name) > 255 {
		return part("name", r.Name, "with its host longer than 255 characters")
	}
	for component := range strings.SplitSeq(r.Name, "/") {
		if why := badComponent(component); why != "" {
			return part("name component", component, why)
		}
	}
	return nil
}

// parseLayout reads PATH[:TAG]. The path ends at the first colon, as skopeo has it: tags may contain colons.
func (r *Ref) parseLayout(s string) *fault.Error {
	path, tag, found := strings.Cut(s, ":")
	r.Path, r.Tag = path, tag
	if !found {
		return nil
	}
	if why := badRefName(tag); why != "" {
		return part("tag", tag, why)
	}
	return nil
}

// parseDockerArchive reads FILE[:NAME[:TAG]] and FILE:@N.
func (r *Ref) parseDockerArchive(s string) *fault.Error {
	path, rest, found := strings.Cut(s, ":")
	r.Path = path
	if !found {
		return nil
	}
	if number, ok := strings.CutPrefix(rest, "@"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 1<<20 {
			return part("index", rest, "not @ and a number")
		}
		r.Index = n + 1
		return nil
	}
	var named Ref
	if err := named.parseDocker(rest); err != nil {
		return err
	}
	if named.Digest != "" {
		return part("name", rest, "an archive knows no digests")
	}
	r.Name, r.Tag = named.Host+"/"+named.Name, named.Tag
	return nil
}

func part(what, value, why string) *fault.Error {
	return &fault.Error{Msg: what + " " + strconv.Quote(clip(value)) + ": " + why}
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// String returns the name that Parse reads, with all defaults written out.
func (r Ref) String() string {
	s := string(r.Transport) + ":"
	switch r.Transport {
	case Docker:
		return s + "//" + r.Familiar()
	case DockerArchive:
		s += r.Path
		switch {
		case r.Index > 0:
			s += ":@" + strconv.Itoa(r.Index-1)
		case r.Name != "":
			s += ":" + r.Name + ":" + r.Tag
		}
		return s
	}
	s += r.Path
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	return s
}

// Familiar returns HOST/NAME[:TAG][@DIGEST] of a registry's image, without the transport.
func (r Ref) Familiar() string {
	s := r.Host + "/" + r.Name
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}
