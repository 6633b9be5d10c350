package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The scripts that need systemd, under the machine's own systemd as pid 1 of a namespace, once with each cgroup version.
//
//spec:46,48
func TestSystemd(t *testing.T) {
	const systemd = "/lib/systemd/systemd"
	if !rootTests() {
		t.Skip("[root] needs root")
	}
	if on, _ := condition("systemd", "", ""); on {
		t.Skip("[!systemd] systemd is pid 1 here, and TestScripts ran under it")
	}
	if _, err := os.Stat(systemd); err != nil {
		t.Skip("[exec:systemd] needs " + systemd)
	}
	for _, view := range []string{"v1", "v2"} {
		t.Run(view, func(t *testing.T) {
			if view == "v1" && unified() {
				t.Skip("[v1] the machine has cgroup v2 only")
			}
			underSystemd(t, view, slices.DeleteFunc(glob(t, "script/systemd-*.txtar"), func(path string) bool {
				raw, _ := os.ReadFile(path)
				skips := func(condition string) bool { return strings.Contains(string(raw), "["+condition+"] skip") }
				criu, _ := condition("criu", "", "")
				return view == "v1" && skips("!v2") || skips("!controller:memory") && !controller("memory") || skips("!criu") && !criu
			}))
		})
	}
}

// passes are the lines of scripts that passed, and not those of what is below them.
var passes = compiled(`(?m)^    --- PASS: TestScripts(Alone)?/systemd-`)

// underSystemd runs this test binary with the scripts for systemd; those that are named have to pass.
func underSystemd(t *testing.T, view string, scripts []string) {
	dir := publicDir(t)
	copyFile(t, "/proc/self/exe", filepath.Join(dir, "test"))
	copyFile(t, berth(t), filepath.Join(dir, "berth"))
	cmd := exec.Command("systemd/boot", view, dir, filepath.Join(dir, "test"), "-test.v", "-test.run=^TestScripts(Alone)?$/^systemd-")
	cmd.Env = append(os.Environ(), "BERTH="+filepath.Join(dir, "berth"), "TIMEOUT=120", "TMPDIR=/tmp")
	said, err := cmd.CombinedOutput()
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	if status, _ := os.ReadFile(filepath.Join(dir, "status")); err != nil || strings.TrimSpace(string(status)) != "0" {
		boot, _ := os.ReadFile(filepath.Join(dir, "boot.log"))
		t.Fatalf("%v: status %q\n%s%s%s", err, status, said, boot, log)
	}
	if passed := len(passes().FindAll(log, -1)); passed != len(scripts) {
		t.Errorf("%d of %d scripts passed:\n%s", passed, len(scripts), log)
	}
}
