package cases

import (
	"encoding/json"
	"os"
	"path/filepath"

	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// Summary is what a case's case.json says.
type Summary struct {
	Name      string   `json:"name"`
	Why       string   `json:"why"`
	Source    string   `json:"source"`
	Open      bool     `json:"open,omitempty"`      // the specification decides nothing here
	Refused   bool     `json:"refused,omitempty"`   // there is no tree: a tool must refuse the image
	OrRefused bool     `json:"orRefused,omitempty"` // it may
	Words     []string `json:"words,omitempty"`     // what Berth's error must say
}

// Write writes a case below a directory:
//
//	GROUP/NAME/layout/     OCI image layout, the image's tag is stack.Tag
//	GROUP/NAME/case.json   Summary
//	GROUP/NAME/tree.json   the expected tree as package tree writes it, where there is one
//	GROUP/NAME/layers      the declaration
func (c *Case) Write(dir string) error {
	entries, err := c.Tree()
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, filepath.FromSlash(c.Name))
	if err := c.Stack.WriteLayout(filepath.Join(dir, "layout"), c.Image); err != nil {
		return err
	}
	summary, err := json.MarshalIndent(Summary{c.Name, c.Why, c.Source, c.Open, c.Refused != nil, c.OrRefused, c.Refused}, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"case.json": append(summary, '\n'),
		"layers":    []byte(stack.Line{Verb: "image", Attrs: c.Image}.String() + "\n" + c.Stack.String()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	if entries == nil {
		return nil
	}
	f, err := os.Create(filepath.Join(dir, "tree.json"))
	if err != nil {
		return err
	}
	defer f.Close()
	return tree.Write(f, entries)
}
