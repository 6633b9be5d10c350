package host

import "strings"

// Mount is one line of mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID       string // decimal
	Dev      string // MAJOR:MINOR
	Root     string // what of the file system is mounted
	Point    string // below the reader's root
	Type     string
	Readonly bool // the mount, not the file system
}

// Mounts reads a mountinfo file. Lines that say less are passed over.
func Mounts(mountinfo []byte) []Mount {
	var out []Mount
	for line := range strings.Lines(string(mountinfo)) {
		head, tail, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f := strings.Split(head, " ")
		if len(f) < 6 {
			continue
		}
		fstype, _, _ := strings.Cut(tail, " ")
		out = append(out, Mount{
			ID: f[0], Dev: f[2], Root: unescape(f[3]), Point: unescape(f[4]), Type: fstype,
			Readonly: f[5] == "ro" || strings.HasPrefix(f[5], "ro,"),
		})
	}
	return out
}
