package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// A file and a directory cannot be mounted over one another, and the message
// has the words that managers look for.
func TestDiagnoseKinds(t *testing.T) {
	root, host := t.TempDir(), t.TempDir()
	file := filepath.Join(host, "file")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(root, "passwd"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ source, target, want string }{
		{file, "/etc", "bind " + file + " on /etc: the source is a file and the destination a directory: not a directory (config.json /mounts/0); bind a directory, or choose another destination"},
		{host, "/passwd", "bind " + host + " on /passwd: the source is a directory and the destination a file: not a directory (config.json /mounts/0); bind a file, or choose another destination"},
		{host, "/etc", "bind /etc: invalid argument (config.json /mounts/0)"},
		{host, "/missing", "bind /missing: invalid argument (config.json /mounts/0)"},
	}
	for _, tt := range tests {
		p := &Plan{Root: root, Ops: []Op{&Bind{Base: Base{Op: "bind", Field: "/mounts/0"}, Source: tt.source, Target: tt.target}}}
		e := &fault.Error{Op: "bind", Path: tt.target, Field: "/mounts/0", Errno: unix.EINVAL}
		if p.Diagnose(e); e.Error() != tt.want {
			t.Errorf("got  %s\nwant %s", e, tt.want)
		}
	}
}
