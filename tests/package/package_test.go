// Package packagetest builds the Debian package, looks into it, installs it below a directory of its own and runs what is
// there.
package packagetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/cli"
)

func TestDebianPackage(t *testing.T) {
	need(t, "dpkg-deb")
	dir := t.TempDir()
	deb := lastLine(output(t, runMake("deb", "DEBDIR="+dir)))
	if filepath.Dir(deb) != dir {
		t.Fatalf("built is %s", deb)
	}
	t.Run("control", func(t *testing.T) { checkControl(t, deb) })
	t.Run("contents", func(t *testing.T) { checkContents(t, deb) })
	t.Run("lintian", func(t *testing.T) {
		if testing.Short() {
			t.Skip("[lintian] takes its time: without -short only")
		}
		need(t, "lintian")
		out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	root := install(t, deb)
	t.Run("runs", func(t *testing.T) { checkRuns(t, root) })
	t.Run("documents", func(t *testing.T) { checkDocuments(t, root) })
	t.Run("podman", func(t *testing.T) { checkPodman(t, root) })
}

// runMake is make at the top of the repository, as a make of its own.
func runMake(args ...string) *exec.Cmd {
	cmd := exec.Command("make", append([]string{"-s", "-C", "../.."}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "MAKE") || strings.HasPrefix(e, "MFLAGS") })
	return cmd
}

func checkControl(t *testing.T, deb string) {
	control := output(t, exec.Command("dpkg-deb", "-I", deb, "control"))
	for _, want := range []string{"Package: berth\n", "Architecture: ", "Maintainer: ", "Description: OCI container runtime\n"} {
		if !strings.Contains(control, want) {
			t.Errorf("control has no %q:\n%s", want, control)
		}
	}
	commit := strings.TrimSpace(output(t, exec.Command("git", "describe", "--always", "--exclude", "*")))
	version := output(t, exec.Command("dpkg-deb", "-f", deb, "Version"))
	if _, err := exec.Command("git", "describe", "--tags", "--exact-match").Output(); err != nil && !strings.Contains(version, commit) {
		t.Errorf("version %s does not name commit %s", version, commit)
	}
	if out, err := exec.Command("dpkg", "--validate-version", strings.TrimSpace(version)).CombinedOutput(); err != nil {
		t.Errorf("version: %s", out)
	}
	if got := output(t, exec.Command("dpkg-deb", "-I", deb, "conffiles")); got != "/etc/containers/containers.conf.d/berth.conf\n" {
		t.Errorf("conffiles: %q", got)
	}
}

// checkContents holds the package to the command table, and to root's ownership and harmless modes.
func checkContents(t *testing.T, deb string) {
	var paths []string
	for line := range strings.Lines(output(t, exec.Command("dpkg-deb", "-c", deb))) {
		f := strings.Fields(line)
		paths = append(paths, f[5])
		if f[1] != "root/root" || strings.ContainsAny(f[0], "sStT") || f[0][5] == 'w' || f[0][8] == 'w' {
			t.Errorf("owner and mode of %s: %s %s", f[5], f[1], f[0])
		}
	}
	want := strings.Fields(`./usr/bin/berth ./usr/bin/berth-layer ./usr/share/man/man8/berth-layer.8.gz ./usr/share/man/man8/berth.8.gz ./usr/share/bash-completion/completions/berth
		./usr/share/zsh/vendor-completions/_berth ./usr/share/fish/vendor_completions.d/berth.fish
		./usr/share/doc/berth/copyright ./usr/share/doc/berth/README.Debian`)
	for _, c := range cli.Table().Commands {
		want = append(want, "./usr/share/man/man8/berth-"+c.Name+".8.gz")
	}
	for _, w := range want {
		if !slices.Contains(paths, w) {
			t.Errorf("%s is not in the package", w)
		}
	}
}

// install gives the directory below which the package is installed: by dpkg, whose database is made there, as root, and
// extracted otherwise.
func install(t *testing.T, deb string) string {
	root := t.TempDir()
	if os.Geteuid() != 0 {
		output(t, exec.Command("dpkg-deb", "-x", deb, root))
		return root
	}
	for _, d := range []string{"updates", "info", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg", f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(root, "dpkg.log")
	output(t, exec.Command("dpkg", "--root="+root, "--log="+log, "--install", deb))
	if got := output(t, exec.Command("dpkg-query", "--root="+root, "-W", "-f", "${Status}", "berth")); got != "install ok installed" {
		t.Errorf("status is %q", got)
	}
	output(t, exec.Command("dpkg", "--root="+root, "--verify", "berth"))
	t.Cleanup(func() {
		output(t, exec.Command("dpkg", "--root="+root, "--log="+log, "--purge", "berth"))
		for _, left := range []string{"usr/bin/berth", "etc/containers", "usr/share/doc/berth"} {
			if _, err := os.Lstat(filepath.Join(root, left)); err == nil {
				t.Errorf("%s is left after purge", left)
			}
		}
	})
	return root
}

func checkRuns(t *testing.T, root string) {
	berth := filepath.Join(root, "usr/bin/berth")
	if got := output(t, exec.Command(berth, "--version")); !strings.HasPrefix(got, "berth version ") {
		t.Errorf("--version: %q", got)
	}
	var features struct{ OCIVersionMin, OCIVersionMax string }
	if err := json.Unmarshal([]byte(output(t, exec.Command(berth, "features"))), &features); err != nil || features.OCIVersionMin == "" || features.OCIVersionMax == "" {
		t.Errorf("features: %v %+v", err, features)
	}
	if got := output(t, exec.Command(berth, "--root", t.TempDir(), "list", "-q")); got != "" {
		t.Errorf("list -q: %q", got)
	}
}

func checkDocuments(t *testing.T, root string) {
	raw, err := os.ReadFile(filepath.Join(root, "usr/share/doc/berth/examples/docker-daemon.json"))
	if err != nil {
		t.Fatal(err)
	}
	var docker struct {
		Runtimes map[string]struct{ Path string }
	}
	if err := json.Unmarshal(raw, &docker); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, docker.Runtimes["berth"].Path)); err != nil {
		t.Errorf("docker-daemon.json: %v", err)
	}
	t.Run("containerd", func(t *testing.T) {
		need(t, "containerd")
		config := filepath.Join(root, "usr/share/doc/berth/examples/containerd-config.toml")
		dump := output(t, exec.Command("containerd", "--config", config, "config", "dump"))
		for _, want := range []string{`BinaryName = "/usr/bin/berth"`, `default_runtime_name = "berth"`} {
			if !strings.Contains(dump, want) {
				t.Errorf("containerd does not take %s", want)
			}
		}
	})
}

// checkPodman asks Podman what it makes of the drop-in.
func checkPodman(t *testing.T, root string) {
	need(t, "podman")
	raw, err := os.ReadFile(filepath.Join(root, "etc/containers/containers.conf.d/berth.conf"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	berth := filepath.Join(root, "usr/bin/berth")
	conf := filepath.Join(dir, "containers.conf")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(string(raw), `"/usr/bin/berth"`, `"`+berth+`"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("podman", "--root", dir+"/root", "--runroot", dir+"/run", "--tmpdir", dir+"/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--runtime", "berth", "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}")
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+conf)
	if got := output(t, cmd); !strings.HasPrefix(got, "berth "+berth+" berth version ") {
		t.Errorf("podman info: %q", got)
	}
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s%s", cmd.Args, err, out, errors.String())
	}
	return string(out)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// need skips where a program that only this test needs is not installed; make setup installs it.
func need(t *testing.T, program string) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("[%s] is not installed", program)
	}
}
