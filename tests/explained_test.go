package tests

import (
	"os"
	"strings"
	"testing"
)

// Managers match on the words of an error. Those of a hint must not make another error of it: only what stands before the
// hint, with the errno's own text, decides.
func TestHintsOfExecAreNoErrors(t *testing.T) {
	matched := []string{
		"permission denied", "operation not permitted", "is a directory", "not a directory", "no such file or directory",
		"executable file not found", "no such process", "does not exist", "container not running", "open executable", "invalid process",
	}
	hints := 0
	for _, file := range glob(t, "faults/exec-*.txtar") {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, want, ok := strings.Cut(string(raw), "-- want --\n")
		message, hint, hinted := strings.Cut(want, "; ")
		if !ok || !hinted {
			t.Errorf("%s: no hint is wanted", file)
			continue
		}
		hints++
		for _, words := range matched {
			// Managers know one of the two, and mean the same by both: status 126.
			if words == "permission denied" && strings.Contains(message, "is a directory") {
				continue
			}
			if strings.Contains(strings.ToLower(hint), words) && !strings.Contains(strings.ToLower(message), words) {
				t.Errorf("%s: the hint has %q, and the error has not", file, words)
			}
		}
	}
	if hints < 20 {
		t.Errorf("only %d hints", hints)
	}
}
