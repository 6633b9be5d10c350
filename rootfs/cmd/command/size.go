package command

import (
	"fmt"
	"strconv"
	"strings"
)

// parseBytes reads a size as Docker does: a number with k, m, g or t, units of 1024, and perhaps b.
func parseBytes(flag, text string) (int64, error) {
	lower := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), "b")
	shift := 0
	if n := strings.IndexAny("kmgt", lower[max(len(lower)-1, 0):]); n >= 0 && lower != "" {
		shift, lower = 10*(n+1), lower[:len(lower)-1]
	}
	n, err := strconv.ParseInt(lower, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, usageError{fmt.Sprintf("%s: %q is no size; a number with k, m, g or t", flag, text)}
	}
	return n << shift, nil
}
