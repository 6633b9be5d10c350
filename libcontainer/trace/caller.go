package trace

import "strings"

// parseCaller reads the value of TRACEPARENT (W3C Trace Context, "traceparent Header"; the name of the variable is
// OpenTelemetry's). What is malformed is passed over, as the recommendation wants: then there is no caller.
func parseCaller(value string) []Arg {
	parts := strings.Split(value, "-")
	if len(parts) < 4 || !isHex(parts[0], 2) || parts[0] == "ff" || parts[0] == "00" && len(parts) > 4 ||
		!isID(parts[1], 32) || !isID(parts[2], 16) || !isHex(parts[3], 2) {
		return nil
	}
	return []Arg{{"trace_id", parts[1]}, {"parent_id", parts[2]}}
}

// isID tells an id of so many lower-case hexadecimal digits. All zeros is none.
func isID(s string, digits int) bool { return isHex(s, digits) && strings.Trim(s, "0") != "" }

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}
