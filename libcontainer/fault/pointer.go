package fault

import (
	"strconv"
	"strings"
)

// Pointer is a JSON pointer (RFC 6901) into config.json, such as
// "/mounts/3/options/1". The empty pointer is the whole document.
type Pointer string

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// At descends by object keys.
func (p Pointer) At(keys ...string) Pointer {
	for _, k := range keys {
		if strings.ContainsAny(k, "~/") {
			k = escape.Replace(k)
		}
		p += Pointer("/" + k)
	}
	return p
}

// Index descends to element i of an array.
func (p Pointer) Index(i int) Pointer {
	return p + Pointer("/"+strconv.Itoa(i))
}

// Related tells whether p and q are the same entry or one contains the other.
func (p Pointer) Related(q Pointer) bool {
	if len(p) > len(q) {
		p, q = q, p
	}
	rest, ok := strings.CutPrefix(string(q), string(p))
	return ok && (rest == "" || rest[0] == '/')
}

// Tokens returns the unescaped reference tokens.
func (p Pointer) Tokens() []string {
	if p == "" {
		return nil
	}
	tokens := strings.Split(string(p[1:]), "/")
	for i, t := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens
}
