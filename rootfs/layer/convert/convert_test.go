package convert

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	image "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// files is a root file system of a test.
type files map[string]string

func (f files) Open(name string) (io.ReadCloser, error) {
	text, ok := f[name]
	if !ok {
		return nil, unix.ENOENT
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

var accounts = files{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\nbare:x:5:6::relative:\n# a comment\nbroken\n",
	"etc/group":  "root:x:0:\nstaff:x:50:alice,root\naudio:x:29:alice\nalice:x:1001:\nwheel:x:10:\n",
}

// converted converts the JSON of an image configuration.
func converted(t *testing.T, config string, o Options) (*specs.Spec, []Volume, error) {
	t.Helper()
	img := image.Image{}
	if err := json.Unmarshal([]byte(config), &img); err != nil {
		t.Fatalf("%v in %s", err, config)
	}
	if o.Args == nil && len(img.Config.Cmd)+len(img.Config.Entrypoint) == 0 {
		img.Config.Cmd = []string{"sh"}
	}
	return Config(&img, accounts, o)
}

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		entrypoint, cmd string
		o               Options
		want            string
	}{
		{`[]`, `["a","b"]`, Options{}, "a b"},
		{`["e"]`, `[]`, Options{}, "e"},
		{`["e","f"]`, `["a"]`, Options{}, "e f a"},
		{`["e"]`, `["a"]`, Options{Args: []string{"x", "y"}}, "e x y"},
		{`[]`, `["a"]`, Options{Args: []string{"x"}}, "x"},
		{`["e"]`, `["a"]`, Options{Args: []string{}}, "e"},
		{`["e"]`, `["a"]`, Options{Entrypoint: []string{"z"}}, "z"},
		{`["e"]`, `["a"]`, Options{Entrypoint: []string{"z"}, Args: []string{"x"}}, "z x"},
		{`["e"]`, `["a"]`, Options{Entrypoint: []string{}, Args: []string{"x"}}, "x"},
	} {
		spec, _, err := converted(t, `{"config": {"Entrypoint": `+c.entrypoint+`, "Cmd": `+c.cmd+`}}`, c.o)
		if err != nil || strings.Join(spec.Process.Args, " ") != c.want {
			t.Errorf("%+v: %v %v", c, spec, err)
		}
	}
	if _, _, err := Config(&image.Image{}, accounts, Options{}); err == nil || !strings.Contains(err.Error(), "it has neither Entrypoint nor Cmd; give the command to run") {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		image, user string
		o           Options
		want        string
	}{
		{``, "", Options{}, defaultPath + " HOME=/root"},
		{`"PATH=/x"`, "", Options{}, "PATH=/x HOME=/root"},
		{`"HOME=/h","A=1"`, "alice", Options{}, "HOME=/h A=1 " + defaultPath},
		{``, "alice", Options{}, defaultPath + " HOME=/home/alice"},
		{``, "1000", Options{}, defaultPath + " HOME=/home/alice"},
		{``, "4242", Options{}, defaultPath + " HOME=/"},
		{``, "bare", Options{}, defaultPath + " HOME=/"},
		{`"A=1","B=2"`, "", Options{Env: []string{"A=3", "C=4"}}, "A=3 B=2 C=4 " + defaultPath + " HOME=/root"},
		{`"A=1","A=2"`, "", Options{}, "A=2 " + defaultPath + " HOME=/root"},
		{``, "", Options{Env: []string{"HOME=/x", "PATH="}}, "HOME=/x PATH="},
		{``, "", Options{Terminal: true}, defaultPath + " HOME=/root TERM=xterm"},
		{`"TERM=vt100"`, "", Options{Terminal: true}, "TERM=vt100 " + defaultPath + " HOME=/root"},
	} {
		spec, _, err := converted(t, `{"config": {"Env": [`+c.image+`], "User": "`+c.user+`"}}`, c.o)
		if err != nil || strings.Join(spec.Process.Env, " ") != c.want {
			t.Errorf("%+v: got %v %v", c, spec.Process.Env, err)
		}
	}
}

func TestUser(t *testing.T) {
	for _, c := range []struct {
		user     string
		uid, gid uint32
		groups   []uint32
		bad      string
	}{
		{"", 0, 0, nil, ""},
		{"root", 0, 0, []uint32{50}, ""},
		{"0", 0, 0, nil, ""},
		{"alice", 1000, 1001, []uint32{50, 29}, ""},
		{"alice:wheel", 1000, 10, nil, ""},
		{"alice:50", 1000, 50, nil, ""},
		{"alice:0", 1000, 0, nil, ""},
		{"1000", 1000, 1001, nil, ""},
		{"1000:7", 1000, 7, nil, ""},
		{"1000:staff", 1000, 50, nil, ""},
		{"4242", 4242, 0, nil, ""},
		{"4242:4243", 4242, 4243, nil, ""},
		{":staff", 0, 50, nil, ""},
		{"mallory", 0, 0, nil, "find the user mallory: "},
		{"alice:nogroup", 0, 0, nil, "the image's /etc/passwd and /etc/group do not have it: give a number"},
		{"-1", 0, 0, nil, "find the user -1"},
		{"99999999999", 0, 0, nil, "find the user 99999999999"},
	} {
		spec, _, err := converted(t, `{"config": {"User": "`+c.user+`"}}`, Options{})
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%q: %v", c.user, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.user, err)
			continue
		}
		u := spec.Process.User
		if u.UID != c.uid || u.GID != c.gid || !slices.Equal(u.AdditionalGids, c.groups) {
			t.Errorf("%q: got %d:%d %v", c.user, u.UID, u.GID, u.AdditionalGids)
		}
		if caps := spec.Process.Capabilities; (len(caps.Effective) > 0) != (u.UID == 0) || len(caps.Bounding) != 14 {
			t.Errorf("%q: %+v", c.user, caps)
		}
	}
	// What is said beside the image counts, and an image without accounts has numbers.
	spec, _, err := converted(t, `{"config": {"User": "mallory"}}`, Options{User: "alice"})
	if err != nil || spec.Process.User.UID != 1000 {
		t.Error(err)
	}
	for user, ok := range map[string]bool{"": true, "7:8": true, "alice": false} {
		for _, f := range []Files{nil, files{}} {
			if _, _, err := Config(&image.Image{Config: image.ImageConfig{Cmd: []string{"x"}, User: user}}, f, Options{}); (err == nil) != ok {
				t.Errorf("%q: %v", user, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Open(string) (io.ReadCloser, error) { return nil, f.err }

func TestAccountsUnreadable(t *testing.T) {
	for _, f := range []Files{failing{unix.EIO}, files{"etc/passwd": strings.Repeat("x\n", accountsLimit)}} {
		if _, _, err := Config(&image.Image{Config: image.ImageConfig{Cmd: []string{"x"}}}, f, Options{}); err == nil {
			t.Error("no error")
		}
	}
}

func TestAnnotations(t *testing.T) {
	const p = "org.opencontainers.image."
	for _, c := range []struct {
		config string
		o      Options
		want   map[string]string
	}{
		{`{}`, Options{}, nil},
		{`{"os": "linux", "architecture": "arm64", "variant": "v8", "author": "A <a@b>", "created": "2020-01-02T03:04:05.6Z"}`, Options{}, map[string]string{
			p + "os": "linux", p + "architecture": "arm64", p + "variant": "v8", p + "author": "A <a@b>", p + "created": "2020-01-02T03:04:05.6Z"}},
		{`{"os.version": "1.2", "os.features": ["a", "b"]}`, Options{}, map[string]string{p + "os.version": "1.2", p + "os.features": "a,b"}},
		{`{"config": {"StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}}}`, Options{}, map[string]string{
			p + "stopSignal": "SIGINT", p + "exposedPorts": "53/udp,80/tcp"}},
		{`{"author": "A", "config": {"Labels": {"x": "y", "` + p + `author": "B"}}}`, Options{}, map[string]string{"x": "y", p + "author": "B"}},
		{`{"config": {"StopSignal": "SIGINT", "Labels": {"` + p + `stopSignal": ""}}}`, Options{}, map[string]string{p + "stopSignal": ""}},
		{`{"config": {"Labels": {"x": "y"}}}`, Options{Annotations: map[string]string{"x": "z", "a": "b"}}, map[string]string{"x": "z", "a": "b"}},
	} {
		spec, _, err := converted(t, c.config, c.o)
		got, _ := json.Marshal(spec.Annotations)
		want, _ := json.Marshal(c.want)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s:\n got %s %v\nwant %s", c.config, got, err, want)
		}
	}
}

func TestCwd(t *testing.T) {
	for _, c := range []struct{ image, given, want string }{
		{"", "", "/"}, {"/a/b", "", "/a/b"}, {"a", "", "/a"}, {"/a", "/c", "/c"}, {"../x", "", "/x"}, {"/a/", "", "/a"},
	} {
		spec, _, err := converted(t, `{"config": {"WorkingDir": "`+c.image+`"}}`, Options{Cwd: c.given})
		if err != nil || spec.Process.Cwd != c.want {
			t.Errorf("%+v: %s %v", c, spec.Process.Cwd, err)
		}
	}
}

// shown is the mounts as text, but for the usual ones.
func shown(spec *specs.Spec) string {
	usual := []string{"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"}
	var out []string
	for _, m := range spec.Mounts {
		if !slices.Contains(usual, m.Destination) || m.Type == "bind" {
			out = append(out, m.Destination+" "+m.Type+" "+m.Source+" "+strings.Join(m.Options, ","))
		}
	}
	return strings.Join(out, "\n")
}

func TestMounts(t *testing.T) {
	root := specs.Mount{Type: "overlay", Source: "o", Options: []string{"lowerdir=/a:/b"}}
	maps := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	bind := func(to string) specs.Mount {
		return specs.Mount{Destination: to, Type: "bind", Source: "/h", Options: []string{"rbind"}}
	}
	for _, c := range []struct {
		volumes string
		o       Options
		want    string
		made    []Volume
	}{
		{``, Options{}, "", nil},
		{``, Options{Root: &root}, "/ overlay o lowerdir=/a:/b", nil},
		{``, Options{Root: &root, UIDMappings: maps, GIDMappings: maps}, "/ overlay o lowerdir=/a:/b,idmap", nil},
		{``, Options{Root: &root, UIDMappings: maps, GIDMappings: maps, Rootless: true}, "/ overlay o lowerdir=/a:/b", nil},
		{`"/data": {}, "/a b": {}`, Options{}, "/a b tmpfs tmpfs nosuid,nodev,tmpcopyup\n/data tmpfs tmpfs nosuid,nodev,tmpcopyup", nil},
		{`"/data": {}, "/b": {}`, Options{Volumes: "/v"}, "/b bind /v/0 rbind,nosuid,nodev\n/data bind /v/1 rbind,nosuid,nodev",
			[]Volume{{"/b", "/v/0"}, {"/data", "/v/1"}}},
		{`"/data": {}`, Options{Volumes: "/v", UIDMappings: maps, GIDMappings: maps}, "/data bind /v/0 rbind,nosuid,nodev,idmap", []Volume{{"/data", "/v/0"}}},
		{`"/data": {}, "/b": {}`, Options{Volumes: "/v", Mounts: []specs.Mount{bind("/data/")}}, "/b bind /v/0 rbind,nosuid,nodev\n/data/ bind /h rbind", []Volume{{"/b", "/v/0"}}},
		{`"data": {}, "/": {}`, Options{}, "/data tmpfs tmpfs nosuid,nodev,tmpcopyup", nil},
		{``, Options{Mounts: []specs.Mount{bind("/dev/shm")}}, "/dev/shm bind /h rbind", nil},
		{``, Options{Root: &root, Mounts: []specs.Mount{bind("/x")}}, "/ overlay o lowerdir=/a:/b\n/x bind /h rbind", nil},
	} {
		spec, made, err := converted(t, `{"config": {"Volumes": {`+c.volumes+`}}}`, c.o)
		if err != nil || shown(spec) != c.want || !slices.Equal(made, c.made) {
			t.Errorf("%s %+v:\n got %s\nwant %s\n%v %v", c.volumes, c.o, shown(spec), c.want, made, err)
		}
	}
	if len(root.Options) != 1 {
		t.Error("the caller's mount was changed")
	}
}

func TestLinux(t *testing.T) {
	maps := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "pid network ipc uts mount"},
		{Options{NetworkHost: true}, "pid ipc uts mount"},
		{Options{CgroupNS: true}, "pid network ipc uts mount cgroup"},
		{Options{UIDMappings: maps, GIDMappings: maps}, "pid network ipc uts mount user"},
		{Options{Rootless: true, EUID: 1000, EGID: 1000}, "pid ipc uts mount user"},
		{Options{Rootless: true, UIDMappings: maps, GIDMappings: maps}, "pid ipc uts mount user"},
	} {
		spec, _, err := converted(t, `{}`, c.o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range spec.Linux.Namespaces {
			got = append(got, string(n.Type))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v", c.o, got)
		}
		if n := len(c.o.UIDMappings); n > 0 && spec.Linux.UIDMappings[0] != maps[0] {
			t.Errorf("%+v", spec.Linux.UIDMappings)
		}
	}
	spec, _, _ := converted(t, `{}`, Options{UIDMappings: maps, GIDMappings: maps, NetworkHost: true})
	if i := slices.IndexFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/sys" }); spec.Mounts[i].Source != "/sys" {
		t.Error("a sysfs of a network namespace that is not the container's")
	}
}

func TestOther(t *testing.T) {
	spec, _, err := converted(t, `{}`, Options{Hostname: "h", Terminal: true, ReadOnly: true, NoNewPrivs: true})
	if err != nil || spec.Hostname != "h" || !spec.Process.Terminal || !spec.Root.Readonly || !spec.Process.NoNewPrivileges {
		t.Error(spec, err)
	}
	spec, _, err = converted(t, `{"os": "linux"}`, Options{})
	if err != nil || spec.Process.Terminal || spec.Root.Readonly || spec.Process.NoNewPrivileges || spec.Process.Rlimits != nil || spec.Root.Path != "rootfs" {
		t.Error(spec, err)
	}
	if _, _, err := converted(t, `{"os": "windows", "architecture": "amd64"}`, Options{}); err == nil || !strings.Contains(err.Error(), "it is for windows/amd64; choose one for linux") {
		t.Error(err)
	}
}

// Links stay in the root, and what is no file is not opened.
func TestRoot(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	root := filepath.Join(dir, "root")
	if err := errors.Join(os.WriteFile(secret, []byte("x"), 0o644), os.MkdirAll(root+"/etc", 0o755), os.MkdirAll(root+"/usr", 0o755),
		os.WriteFile(root+"/usr/passwd", []byte("in"), 0o644), os.Symlink("/usr/passwd", root+"/etc/passwd"),
		os.Symlink("../../../secret", root+"/etc/up"), os.Symlink(secret, root+"/etc/abs"), unix.Mkfifo(root+"/etc/fifo", 0o644)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"etc/passwd": "in", "etc/up": "", "etc/abs": "", "etc/fifo": "", "etc": "", "none": "", "../secret": ""} {
		in, err := Root{f}.Open(name)
		text := ""
		if err == nil {
			raw, _ := io.ReadAll(in)
			in.Close()
			text = string(raw)
		}
		if text != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
}

func FuzzUser(f *testing.F) {
	for _, s := range []string{"alice", "0:0", ":", "alice:wheel", "-", "\x00"} {
		f.Add(s, accounts["etc/passwd"], accounts["etc/group"])
	}
	f.Fuzz(func(t *testing.T, given, passwd, group string) {
		a, err := findUser(given, files{"etc/passwd": passwd, "etc/group": group})
		if err == nil && !strings.HasPrefix(a.home, "/") {
			t.Errorf("home %q", a.home)
		}
	})
}
