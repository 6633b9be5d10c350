package bundle

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// sysctl lets only those parameters through that belong to a namespace which
// the container has of its own: any other would change the host.
func (c *checker) sysctl(keys map[string]string) {
	for _, key := range sorted(keys) {
		c.trail.enter("sysctl")
		c.sysctlKey(key)
		c.text(key, keys[key])
		c.trail.leave()
	}
}

func (c *checker) sysctlKey(key string) {
	name := sysctlName(key)
	owner := sysctlNamespace(name)
	switch {
	case slices.ContainsFunc(name, badComponent):
		// /proc/sys/net/../kernel would lead out of what is allowed.
		c.bad(key, "", "%q is not the name of a kernel parameter", key)
	case owner == "":
		c.bad(key, "set it on the host", "%q does not belong to a namespace: it would be set on the host", key)
	case !c.ns.has(owner):
		c.bad(key, `add {"type": "`+string(owner)+`"} to linux.namespaces`, "%q needs a namespace of its own, %s: it would be set on the host", key, owner)
	case len(name) == 2 && name[1] == "hostname":
		c.bad(key, "set hostname instead", "%q conflicts with the entry for it, hostname", key)
	}
}

// sysctlName splits a key into the components of its path below /proc/sys.
// As with sysctl(8) the first separator decides: if it is a dot then slashes
// stand for dots, as in "net.ipv4.conf.eth0/1.forwarding".
func sysctlName(key string) []string {
	i := strings.IndexAny(key, "./")
	if i < 0 {
		return []string{key}
	}
	if key[i] == '/' {
		return strings.Split(key, "/")
	}
	name := strings.Split(key, ".")
	for i, part := range name {
		name[i] = strings.ReplaceAll(part, "/", ".")
	}
	return name
}

func badComponent(s string) bool {
	return s == "" || s == "." || s == ".." || strings.IndexByte(s, 0) >= 0
}

// sysctlNamespace returns the kind of namespace that a parameter belongs to,
// or "" where it is the whole machine's.
func sysctlNamespace(name []string) specs.LinuxNamespaceType {
	switch {
	case len(name) > 1 && name[0] == "net":
		return specs.NetworkNamespace
	case len(name) > 2 && name[0] == "fs" && name[1] == "mqueue":
		return specs.IPCNamespace
	case len(name) == 2 && name[0] == "kernel":
		return kernelNamespace(name[1])
	}
	return ""
}

func kernelNamespace(name string) specs.LinuxNamespaceType {
	switch name {
	case "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced":
		return specs.IPCNamespace
	case "domainname", "hostname":
		return specs.UTSNamespace
	}
	return ""
}
