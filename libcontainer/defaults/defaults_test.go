package defaults

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// `berth spec` writes what `runc spec` wrote down in testdata, but for the
// version and the name.
func TestSpec(t *testing.T) {
	for file, rootless := range map[string]bool{"runc-spec.json": false, "runc-spec-rootless.json": true} {
		want, err := os.ReadFile("../bundle/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		sameSpec(t, rootless, want)
	}
}

func TestSpecIsRunc(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("[runc] needs runc")
	}
	for _, rootless := range []bool{false, true} {
		dir := t.TempDir()
		args := []string{"spec", "--bundle", dir}
		if rootless {
			args = append(args, "--rootless")
		}
		if out, err := exec.Command("runc", args...).CombinedOutput(); err != nil {
			t.Skipf("[runc] runc spec: %v: %s", err, out)
		}
		want, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		sameSpec(t, rootless, want)
	}
}

func sameSpec(t *testing.T, rootless bool, want []byte) {
	t.Helper()
	var runc specs.Spec
	if err := json.Unmarshal(want, &runc); err != nil {
		t.Fatal(err)
	}
	euid, egid := 0, 0
	if rootless {
		euid, egid = int(runc.Linux.UIDMappings[0].HostID), int(runc.Linux.GIDMappings[0].HostID)
	}
	// They cannot be raised without being inheritable too, so Berth leaves out
	// what older versions of runc write here.
	runc.Process.Capabilities.Ambient = nil
	want, err := Marshal(&runc)
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec(rootless, euid, egid)
	if strings.Contains(string(want), `"type": "cgroup"`+"\n\t\t\t}") {
		WithCgroupNamespace(spec)
	}
	spec.Version, spec.Hostname = runc.Version, runc.Hostname
	got, err := Marshal(spec)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n got: %s\nwant: %s", err, got, want)
	}
}
