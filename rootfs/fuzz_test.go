package rootfs

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// FuzzPlan holds every plan to what must hold for all: no panic, the same
// program twice, pointers that lead somewhere, and the security rules.
func FuzzPlan(f *testing.F) {
	for _, config := range []string{
		defaultConfig, `{}`, `{"root": {"path": "/"}}`,
		mounts(`{"destination": "/x", "source": "y", "options": ["rbind", "rro", "idmap=uids=@0-1-2#3-4-5;gids=0-0-1", "ridmap", "rshared", "x-a"], "uidMappings": [{"size": 3}], "gidMappings": [{"size": 3}]}`),
		mounts(`{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup", "ro", "size=1"]}`, `{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}`),
		mounts(`{"destination": "/x/y", "source": "/", "options": ["bind", "copy-symlink", "src-nofollow", "dest-nofollow"]}`),
		mounts(overlayEntry("/", "lowerdir=/a:/b", "upperdir=u", "workdir=w", "ro", "idmap"), `{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}`),
		mounts(overlayEntry("/", "lowerdir+=/a", "lowerdir+=/b", "volatile,userxattr")),
		mounts(`{"destination": "/x", "type": "ext4", "options": ["silent", "remount", "bind"]}`),
		`{"linux": {"rootfsPropagation": "runbindable", "devices": [{"path": "/x/y", "type": "p"}, {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]}}`,
		`{"process": {"cwd": "a/b", "terminal": true}, "root": {"path": "x", "readonly": true}}`,
	} {
		for bits := range uint16(8) {
			f.Add([]byte(config), bits*37, uint8(bits))
		}
	}
	f.Fuzz(func(t *testing.T, config []byte, bits uint16, kernel uint8) {
		var spec specs.Spec
		if json.Unmarshal(config, &spec) != nil {
			return
		}
		// Keys as they are written properly: decoding does not mind their case.
		var document any
		proper, err := json.Marshal(spec)
		if err != nil || json.Unmarshal(proper, &document) != nil {
			return
		}
		facts := host.Facts{Kernel: host.Version{Major: 5 + int(kernel)&1, Minor: 9 + int(kernel)%10}, UserNS: bits&256 != 0}
		if bits&1 == 0 {
			facts.Caps = ^uint64(0)
		}
		opt := Options{
			Bundle: "/bundle", MountNS: bits&2 == 0, UserNS: bits&4 != 0, PIDNS: bits&8 != 0,
			CgroupNS: bits&16 != 0, NoPivot: bits&32 != 0,
			Console: spec.Process != nil && spec.Process.Terminal,
		}
		if bits&64 != 0 {
			opt.Cgroup = []CgroupMount{{Name: "cpu", Dir: "/cg/cpu", Controllers: []string{"cpu"}}, {Name: "systemd", Dir: "/cg/s", Controllers: []string{"name=systemd"}}}
		}
		p, bad := NewPlan(&spec, facts, opt)
		for _, e := range bad {
			_ = e.Error()
		}
		if _, err := json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		if len(bad) > 0 {
			return
		}
		program := verified(t, string(config), p)
		again, _ := NewPlan(&spec, facts, opt)
		if p.String() != again.String() || program.String() != compiled(t, again).String() {
			t.Errorf("%s is not planned the same way twice", config)
		}
		for _, s := range program.Steps {
			resolves(t, document, s.Origin)
		}
	})
}

// resolves holds a step's pointer to the entry that asked for it.
func resolves(t *testing.T, document any, o nsenter.Origin) {
	t.Helper()
	at := document
	for _, token := range fault.Pointer(o.Field).Tokens() {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[token]
			if !ok && o.Field != "/root/path" {
				t.Errorf("%s %s: %s does not resolve", o.Op, o.Path, o.Field)
			}
			at = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(v) {
				t.Errorf("%s %s: %s does not resolve", o.Op, o.Path, o.Field)
				return
			}
			at = v[i]
		}
	}
}
