package fault

import (
	"errors"
	"strings"
	"testing"
)

// TestOneLine: what an image or a user has named is neither a second line of
// the log nor a terminal's command.
func TestOneLine(t *testing.T) {
	hostile := "a\nb\r\x00\x1b[2J\u009b1m\x7f\xff é"
	const clean = "a?b???[2J?1m?? é"
	e := &Error{Op: "op", Path: hostile, Msg: hostile, Field: Pointer("/" + hostile), Err: errors.New(hostile)}
	if got, want := e.Error(), "op "+clean+": "+clean+": "+clean+" (config.json /"+clean+")"; got != want {
		t.Errorf("\n got: %q\nwant: %q", got, want)
	}
	if got := OneLine(hostile); got != `a\nb\r\x00\x1b[2J\u009b1m\x7f\xff é` || OneLine(`é\"`) != `é\"` {
		t.Errorf("got %s", got)
	}
	long := &Error{Op: "op", Path: strings.Repeat("\xff", 1<<20), Msg: strings.Repeat("é", 1<<20)}
	if got := long.Error(); len(got) > 9000 || strings.Count(got, "…") != 2 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestAddEnds: complaints are collected up to what somebody reads.
func TestAddEnds(t *testing.T) {
	var more List
	for range 100000 {
		more = append(more, &Error{Op: "check"})
	}
	list := more[:3:3].Add(more)
	if list = list.Add(more); len(list) != Most {
		t.Errorf("%d complaints", len(list))
	}
}
