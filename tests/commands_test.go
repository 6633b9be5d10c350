package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// commands are those of scripts, besides testscript's own and the programs.
//
//	bundle DIR [ARG…]            makes a bundle with busybox and process.args, from the runtime's own `spec`; it is the
//	                             same on every machine, without the cgroup namespace that spec has on cgroup v2
//	config DIR PATCH…            merges into config.json (RFC 7386); a patch is JSON or a file. $WORK, $ID are replaced
//	args DIR ARG…                process.args
//	append DIR POINTER JSON…     adds to an array of config.json
//	prepend DIR POINTER JSON     makes it the first of an array; it may be a file
//	drop DIR POINTER KEY=VALUE   removes the elements of an array with that value; without KEY=VALUE, the entry
//	waitfor STATUS ID            waits until the container is in that state
//	waitfile FILE [TEXT]         waits until a file exists, and has a text in it
//	[!] json FILE POINTER [WANT] the entry exists, and is WANT (JSON or plain text)
//	getjson NAME FILE POINTER    sets an environment variable to an entry
//	getfile NAME FILE            sets an environment variable to a file's text
//	leftovers [ID]               nothing of the container or the script is left on the machine
//	userbundle DIR [ARG…]        a bundle of the user that the program user is, from spec --rootless
//	delegate                     makes a group of cgroup v2 that is that user's, for him to be in from then on
//	hostmounts save|compare      the mounts of the machine itself and of the script are what they were
func commands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"bundle":     cmdBundle,
		"config":     cmdConfig,
		"args":       cmdArgs,
		"append":     cmdAppend,
		"prepend":    cmdPrepend,
		"drop":       cmdDrop,
		"waitfor":    cmdWaitFor,
		"waitfile":   cmdWaitFile,
		"json":       cmdJSON,
		"getjson":    cmdGetJSON,
		"getfile":    cmdGetFile,
		"leftovers":  cmdLeftovers,
		"hostmounts": cmdHostMounts,
		"userbundle": cmdUserBundle,
		"delegate":   cmdDelegate,
	}
}

func usage(ts *testscript.TestScript, ok bool, form string) {
	if !ok {
		ts.Fatalf("usage: %s", form)
	}
}

// applets are the names under which busybox is in a bundle's root file system.
var applets = strings.Fields("busybox sh ash cat chmod chown cp date dd df echo env false find grep head hostname id ip kill ln ls " +
	"mkdir mknod mount mv nice ps pwd readlink rm rmdir sed seq sleep sort stat stty tail test touch tr true tty umount uname " +
	"unshare wc xargs tee nproc taskset ionice chrt")

// template is what the bundles of a run of scripts have in common.
type template struct {
	busybox string // a copy, to which they have links
	spec    []byte // what the runtime's `spec` writes
}

// newTemplate has its files in dir.
func newTemplate(dir, runtime string) (t template, err error) {
	if t.busybox, err = copyBusybox(dir); err != nil {
		return t, err
	}
	if out, err := exec.Command(runtime, "spec", "-b", dir).CombinedOutput(); err != nil {
		return t, fmt.Errorf("spec: %w: %s", err, out)
	}
	t.spec, err = os.ReadFile(filepath.Join(dir, "config.json"))
	return t, err
}

// templateKey finds a function that returns a template, among a script's values.
type templateKey struct{}

func templateOf(ts *testscript.TestScript) template {
	t, err := ts.Value(templateKey{}).(func() (template, error))()
	ts.Check(err)
	return t
}

func cmdBundle(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "bundle DIR [ARG…]")
	dir, template := ts.MkAbs(args[0]), templateOf(ts)
	ts.Check(makeRootfs(filepath.Join(dir, "rootfs"), template.busybox))
	ts.Check(os.WriteFile(filepath.Join(dir, "config.json"), template.spec, 0o644))
	editConfig(ts, args[0], func(doc any) any {
		doc = mergePatch(doc, map[string]any{"process": map[string]any{"terminal": false}})
		doc = without(doc, "/linux/namespaces", "type", "cgroup")
		if len(args) > 1 {
			doc = mergePatch(doc, processArgs(args[1:]))
		}
		return doc
	})
}

// copyBusybox returns the path of a copy in dir.
func copyBusybox(dir string) (string, error) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("%w (Debian: package busybox-static)", err)
	}
	path := filepath.Join(dir, "busybox")
	return path, copyTo(program, path)
}

// makeRootfs makes a root file system of links to a static busybox, which is on the same file system.
func makeRootfs(dir, busybox string) error {
	for _, d := range strings.Fields("bin etc proc sys dev tmp root") {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, name := range applets {
		if err := os.Link(busybox, filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\nalice:x:1000:\n"), 0o644),
		os.Chmod(filepath.Join(dir, "tmp"), 0o777))
}

func processArgs(args []string) any {
	list := make([]any, len(args))
	for i, a := range args {
		list[i] = a
	}
	return map[string]any{"process": map[string]any{"args": list}}
}

func cmdConfig(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "config DIR PATCH…")
	for _, patch := range args[1:] {
		if !strings.HasPrefix(patch, "{") {
			patch = ts.ReadFile(patch)
		}
		editConfig(ts, args[0], func(doc any) any { return mergePatch(doc, parseJSON(ts, patch)) })
	}
}

func cmdArgs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "args DIR ARG…")
	editConfig(ts, args[0], func(doc any) any { return mergePatch(doc, processArgs(args[1:])) })
}

func cmdAppend(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2, "append DIR POINTER JSON…")
	editConfig(ts, args[0], func(doc any) any {
		list, _ := lookup(doc, args[1])
		array, _ := list.([]any)
		for _, text := range args[2:] {
			array = append(array, parseJSON(ts, text))
		}
		return mergePatch(doc, patchAt(args[1], array))
	})
}

func cmdPrepend(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "prepend DIR POINTER JSON")
	text := args[2]
	if !strings.HasPrefix(text, "{") {
		text = ts.ReadFile(text)
	}
	editConfig(ts, args[0], func(doc any) any {
		list, _ := lookup(doc, args[1])
		array, _ := list.([]any)
		return mergePatch(doc, patchAt(args[1], append([]any{parseJSON(ts, text)}, array...)))
	})
}

func cmdDrop(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 2 || len(args) == 3), "drop DIR POINTER [KEY=VALUE]")
	editConfig(ts, args[0], func(doc any) any {
		if len(args) == 2 {
			return mergePatch(doc, patchAt(args[1], nil))
		}
		key, value, _ := strings.Cut(args[2], "=")
		return without(doc, args[1], key, value)
	})
}

// without removes the elements of an array in which an entry has that value.
func without(doc any, pointer, key, value string) any {
	list, _ := lookup(doc, pointer)
	array, _ := list.([]any)
	array = slices.DeleteFunc(array, func(e any) bool {
		object, _ := e.(map[string]any)
		return object[key] == value
	})
	return mergePatch(doc, patchAt(pointer, array))
}

func editConfig(ts *testscript.TestScript, dir string, edit func(any) any) {
	path := filepath.Join(ts.MkAbs(dir), "config.json")
	raw, err := os.ReadFile(path)
	ts.Check(err)
	var doc any
	ts.Check(json.Unmarshal(raw, &doc))
	raw, err = json.MarshalIndent(edit(doc), "", "\t")
	ts.Check(err)
	ts.Check(os.WriteFile(path, raw, 0o644))
}

func parseJSON(ts *testscript.TestScript, text string) any {
	for _, name := range []string{"WORK", "ID", "PID"} {
		text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		ts.Fatalf("%s: %v", text, err)
	}
	return v
}

// mergePatch is RFC 7386's MergePatch.
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for k, v := range changes {
		if v == nil {
			delete(object, k)
			continue
		}
		object[k] = mergePatch(object[k], v)
	}
	return object
}

// patchAt is the merge patch that sets one entry.
func patchAt(pointer string, value any) any {
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for _, token := range slices.Backward(tokens) {
		value = map[string]any{token: value}
	}
	return value
}

// lookup follows a JSON pointer (RFC 6901).
func lookup(doc any, pointer string) (any, bool) {
	if pointer == "" || pointer == "/" {
		return doc, true
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v := doc.(type) {
		case map[string]any:
			child, ok := v[token]
			if !ok {
				return nil, false
			}
			doc = child
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			doc = v[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "waitfor STATUS ID")
	last := ""
	ok := poll(func() bool {
		cmd := exec.Command("rt", "state", args[1])
		cmd.Env = scriptEnv(ts)
		out, err := cmd.Output()
		var state struct{ Status string }
		last = fmt.Sprint(string(out), err)
		return err == nil && json.Unmarshal(out, &state) == nil && state.Status == args[0]
	})
	if !ok {
		ts.Fatalf("%s does not come to be %s: %s", args[1], args[0], last)
	}
}

// scriptEnv is what the programs want from a script's environment.
func scriptEnv(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"RUNTIME", "WORK", "VIEW", "XDG_RUNTIME_DIR"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func poll(done func() bool) bool {
	pause := 5 * time.Millisecond
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pause) {
		if done() {
			return true
		}
		pause = min(pause*3/2, 200*time.Millisecond) // what is asked takes time from what is waited for
	}
	return false
}

func cmdWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "waitfile FILE [TEXT]")
	text := strings.Join(args[1:], " ")
	ok := poll(func() bool {
		if text == "" {
			_, err := os.Lstat(ts.MkAbs(args[0]))
			return err == nil
		}
		raw, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(raw), text)
	})
	if !ok {
		ts.Fatalf("%s does not come", args[0])
	}
}

func entry(ts *testscript.TestScript, file, pointer string) (any, bool) {
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &doc); err != nil {
		ts.Fatalf("%s is not JSON: %v", file, err)
	}
	return lookup(doc, pointer)
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 2 || len(args) == 3, "[!] json FILE POINTER [WANT]")
	got, ok := entry(ts, args[0], args[1])
	if len(args) == 3 {
		ok = ok && same(got, args[2])
	}
	if ok == neg {
		raw, _ := json.Marshal(got)
		ts.Fatalf("%s has %s", args[1], raw)
	}
}

func same(got any, want string) bool {
	if s, ok := got.(string); ok && s == want {
		return true
	}
	var v any
	return json.Unmarshal([]byte(want), &v) == nil && reflect.DeepEqual(got, v)
}

func cmdGetJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "getjson NAME FILE POINTER")
	got, ok := entry(ts, args[1], args[2])
	if !ok {
		ts.Fatalf("%s is not there", args[2])
	}
	if s, ok := got.(string); ok {
		ts.Setenv(args[0], s)
		return
	}
	raw, err := json.Marshal(got)
	ts.Check(err)
	ts.Setenv(args[0], string(raw))
}

func cmdGetFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "getfile NAME FILE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
