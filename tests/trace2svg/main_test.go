package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

const sample = `[
{"ph":"M","name":"process_name","pid":7,"tid":7,"args":{"name":"berth run <box>"}},
{"ph":"X","name":"config","cat":"phase","ts":1795679055090000,"dur":1000,"pid":7,"tid":7},
{"ph":"X","name":"a hook of a long name","cat":"hook","ts":1795679055091000,"dur":100,"pid":7,"tid":7,"args":{"error":"no"}},
{"ph":"X","name":"hooks","cat":"phase","ts":1795679055091000,"dur":1000,"pid":7,"tid":7},
{"ph":"X","name":"nothing","cat":"phase","ts":1795679055092000,"dur":0,"pid":7,"tid":7},
{"ph":"X","name":"mounts","cat":"walk","ts":1795679055090500,"dur":2500,"pid":8,"tid":8},
{"ph":"X","name":"alone","cat":"step","ts":1795679055090500,"dur":10,"pid":9,"tid":9}
`

func TestDraw(t *testing.T) {
	for name, text := range map[string]string{"without its end": sample, "with it": sample + "]\n"} {
		bands, err := read([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var out bytes.Buffer
		draw(&out, bands)
		svg := out.String()
		for _, want := range []string{
			"berth run &lt;box&gt;", "<title>config, 1 ms</title>", "<title>hooks, 1 ms</title>", "<title>mounts, 2.5 ms</title>",
			`fill="#e33"><title>a hook of a long name, 0.1 ms</title>`, `width="39.0" height="17"><text x="2" y="13">a hook of a long name<`, ">2.5 ms</text>",
		} {
			if !strings.Contains(svg, want) {
				t.Errorf("%s: no %q in\n%s", name, want, svg)
			}
		}
		if strings.Contains(svg, "nothing") {
			t.Errorf("%s: what nobody could see is drawn", name)
		}
		d := xml.NewDecoder(strings.NewReader(svg))
		for err = nil; err == nil; _, err = d.Token() {
		}
		if err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "[]", "hello", `[{"ph":"X","ts":"x"}]`} {
		if _, err := read([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
