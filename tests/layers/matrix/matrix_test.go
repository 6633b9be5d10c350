package main

import (
	"errors"
	"testing"

	"berth/tests/layers/cases"
	"berth/tests/layers/tree"
)

func TestVerdicts(t *testing.T) {
	refusal := &cases.Case{Refused: []string{"word"}}
	maybe := &cases.Case{OrRefused: true}
	tree := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o755}}
	for _, c := range []struct {
		name   string
		c      *cases.Case
		tool   Unpacker
		failed error
		want   string
	}{
		{"refuses what it must", refusal, umoci{}, errors.New("no"), ok},
		{"with the words", refusal, berth{}, errors.New("a word"), ok},
		{"without", refusal, berth{}, errors.New("no"), wrong},
		{"takes what it must refuse", refusal, umoci{}, nil, accepted},
		{"refuses what it may", maybe, umoci{}, errors.New("no"), ok},
		{"refuses what it must not", &cases.Case{}, umoci{}, errors.New("no"), refused},
		{"crashes where it must refuse", refusal, umoci{}, crash{"panic: x"}, crashed},
		{"another tree", &cases.Case{}, umoci{}, nil, wrong},
		{"the tree", maybe, umoci{}, nil, wrong},
	} {
		if got, why := verdictOf(c.c, tree, c.tool, "/proc/self/fdinfo", c.failed); got != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, got, why, c.want)
		}
	}
}

func TestCommandTellsCrashesFromErrors(t *testing.T) {
	for _, c := range []struct {
		script string
		crash  bool
	}{{"exit 1", false}, {"echo panic: x >&2; exit 2", true}, {"kill -SEGV $$", true}} {
		_, err := commandIn(t.TempDir(), nil, "sh", "-c", c.script)
		var how crash
		if err == nil || errors.As(err, &how) != c.crash {
			t.Errorf("%s: %v", c.script, err)
		}
	}
}

func TestLayers(t *testing.T) {
	all, err := cases.All()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if name := all[i].Name; name != "envelope/mixed" && name != "envelope/nested-index" {
			continue
		}
		dir := t.TempDir()
		if err := all[i].Write(dir); err != nil {
			t.Fatal(err)
		}
		files, err := layers(dir + "/" + all[i].Name + "/layout")
		if err != nil || len(files) != len(all[i].Stack) {
			t.Errorf("%s: %v %q", all[i].Name, err, files)
		}
	}
}
