// Command trace2svg draws what `berth --trace FILE` has recorded, as the picture in the README:
//
//	go run ./tests/trace2svg trace.json > docs/trace.svg
//
// Each process is a band: its phases, and below each what is within it. A shorter look at what ui.perfetto.dev shows.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"log"
	"os"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: trace2svg FILE")
	}
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	bands, err := read(raw)
	if err != nil {
		log.Fatal(os.Args[1], ": ", err)
	}
	draw(os.Stdout, bands)
}

// event is one of the file's (Chrome's trace event format).
type event struct {
	Name  string            `json:"name"`
	Kind  string            `json:"cat"`
	Phase string            `json:"ph"`
	Begin microseconds      `json:"ts"`
	Time  microseconds      `json:"dur"`
	PID   int               `json:"pid"`
	Args  map[string]string `json:"args"`
}

func (e event) end() microseconds { return e.Begin + e.Time }

type microseconds int64

func (t microseconds) String() string { return fmt.Sprintf("%g ms", float64(t)/1e3) }

// band is one process.
type band struct {
	name       string
	begin, end microseconds
	rows       [3][]event
}

// rowOf is where events of a kind are, from the outside in.
var rowOf = map[string]int{"phase": 0, "hook": 1, "systemd": 1, "part": 2, "walk": 0, "operation": 1, "step": 2}

// read sorts the events of a file into bands, in the order in which they begin.
func read(raw []byte) ([]*band, error) {
	var events []event
	raw = append(bytes.TrimSuffix(bytes.TrimSpace(raw), []byte("]")), ']')
	if err := json.Unmarshal(raw, &events); err != nil {
		return nil, err
	}
	names := map[int]string{}
	events = slices.DeleteFunc(events, func(e event) bool {
		if e.Name == "process_name" {
			names[e.PID] = e.Args["name"]
		}
		return e.Phase != "X"
	})
	if len(events) == 0 {
		return nil, fmt.Errorf("no events in it")
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.Begin, b.Begin) })
	var bands []*band
	of := map[int]*band{}
	for _, e := range events {
		b := of[e.PID]
		if b == nil {
			b = &band{name: names[e.PID], begin: e.Begin}
			of[e.PID], bands = b, append(bands, b)
		}
		b.end = max(b.end, e.end())
		b.rows[rowOf[e.Kind]] = append(b.rows[rowOf[e.Kind]], e)
	}
	return bands, nil
}

// height is that of the rows that have something in them.
func (b *band) height() (high float64) {
	for _, events := range b.rows {
		if len(events) > 0 {
			high += row
		}
	}
	return high
}

const (
	width  = 1200.0
	margin = 10.0
	row    = 18.0
	title  = 22.0
	letter = 6.0 // wide, of 11 pixels
)

func draw(w io.Writer, bands []*band) {
	first, last, height := bands[0].begin, microseconds(0), 2*margin+title
	for _, b := range bands {
		height += title + b.height()
		last = max(last, b.end)
	}
	x := func(t microseconds) float64 { return margin + float64(t-first)/float64(last-first)*(width-2*margin) }
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="Helvetica, Arial, sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	for t, step := microseconds(0), tick(last-first); t < last-first; t += step {
		fmt.Fprintf(w, `<path d="M%.1f %.0fV%.0f" stroke="#ddd"/><text x="%.1f" y="%.0f" fill="#666">%v</text>`+"\n",
			x(first+t), margin, height-margin, x(first+t)+3, margin+9, t)
	}
	y := margin + title
	for _, b := range bands {
		fmt.Fprintf(w, `<text x="%.0f" y="%.0f" font-weight="bold" font-size="12">%s</text>`+"\n", x(b.begin), y+15, html.EscapeString(b.name))
		y += title
		for _, events := range b.rows {
			for _, e := range events {
				e.draw(w, x(e.Begin), y, x(e.end())-x(e.Begin))
			}
			if len(events) > 0 {
				y += row
			}
		}
	}
	fmt.Fprintln(w, "</svg>")
}

// tick is a round time, ten of which or so are total.
func tick(total microseconds) microseconds {
	step := microseconds(1)
	for i := 0; total/step > 12; i++ {
		step = step * []microseconds{4, 5, 4}[i%3] / 2
	}
	return step
}

// draw leaves out what nobody could see, and cuts what does not fit.
func (e event) draw(w io.Writer, x, y, wide float64) {
	if wide < 0.15 {
		return
	}
	h := fnv.New32a()
	io.WriteString(h, e.Kind+strings.Fields(e.Name + " ?")[0])
	color := fmt.Sprintf("hsl(%d 60%% 78%%)", h.Sum32()%360)
	if e.Args["error"] != "" {
		color = "#e33"
	}
	fmt.Fprintf(w, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.0f" fill="%s"><title>%s, %v</title></rect>`+"\n",
		x, y, max(wide-0.3, 0.2), row-1, color, html.EscapeString(e.Name), e.Time)
	if wide > 3*letter { // what does not fit is cut off by the inner picture
		fmt.Fprintf(w, `<svg x="%.1f" y="%.1f" width="%.1f" height="%.0f"><text x="2" y="13">%s</text></svg>`+"\n",
			x, y, wide-0.3, row-1, html.EscapeString(e.Name))
	}
}
