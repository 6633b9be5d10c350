package intelrdt

import (
	"strconv"
	"strings"
)

// holds tells whether the text of a schemata file gives every domain of a line,
// such as "L3:0=7f;1=f0", what the line gives it. step is the granularity of
// memory bandwidth in percent, to which the kernel rounds up.
func holds(text, line string, step uint64) bool {
	kind, wanted := domains(line)
	for present := range strings.Lines(text) {
		if k, has := domains(present); k == kind {
			for id, value := range wanted {
				if !equal(kind, value, has[id], step) {
					return false
				}
			}
			return true
		}
	}
	return false
}

// domains takes "KIND:ID=VALUE;…" apart.
func domains(line string) (kind string, values map[string]string) {
	kind, list, _ := strings.Cut(strings.TrimSpace(line), ":")
	values = map[string]string{}
	for one := range strings.SplitSeq(list, ";") {
		if id, value, ok := strings.Cut(one, "="); ok {
			values[strings.TrimSpace(id)] = strings.TrimSpace(value)
		}
	}
	return strings.TrimSpace(kind), values
}

// equal compares bandwidths as numbers and bit masks as hexadecimal ones.
func equal(kind, wanted, has string, step uint64) bool {
	base := 16
	if kind == "MB" || kind == "SMBA" {
		base = 10
	}
	w, err := strconv.ParseUint(strings.TrimPrefix(wanted, "0x"), base, 64)
	h, err2 := strconv.ParseUint(has, base, 64)
	if err != nil || err2 != nil {
		return wanted == has
	}
	if kind == "MB" && step > 1 {
		w = (w + step - 1) / step * step
	}
	return w == h
}
