package cgroups

import (
	"reflect"
	"strings"
	"testing"
)

func TestBelow(t *testing.T) {
	state := State{Dirs: []Dir{
		{Path: "/cg/cpu/c", Controllers: []string{"cpu", "cpuacct"}}, {Path: "/cg/memory/c", Controllers: []string{"memory"}},
		{Path: "/cg/unified/c", V2: true, Controllers: []string{"hugetlb"}},
	}}
	tests := []struct {
		args, want []string
	}{
		{nil, []string{"/cg/cpu/c", "/cg/memory/c", "/cg/unified/c"}},
		{[]string{"/"}, []string{"/cg/cpu/c", "/cg/memory/c", "/cg/unified/c"}},
		{[]string{"sub"}, []string{"/cg/cpu/c/sub", "/cg/memory/c/sub", "/cg/unified/c/sub"}},
		{[]string{"/sub/deep/"}, []string{"/cg/cpu/c/sub/deep", "/cg/memory/c/sub/deep", "/cg/unified/c/sub/deep"}},
		{[]string{"memory:sub"}, []string{"/cg/cpu/c", "/cg/memory/c/sub", "/cg/unified/c"}},
		{[]string{"cpuacct,memory:/sub"}, []string{"/cg/cpu/c/sub", "/cg/memory/c/sub", "/cg/unified/c"}},
		{[]string{"cpu,cpuacct:sub", "memory:other"}, []string{"/cg/cpu/c/sub", "/cg/memory/c/other", "/cg/unified/c"}},
	}
	for _, tt := range tests {
		got, err := state.Below(tt.args)
		var paths []string
		for _, d := range got.Dirs {
			paths = append(paths, d.Path)
		}
		if err != nil || !reflect.DeepEqual(paths, tt.want) {
			t.Errorf("%q: %q, %v", tt.args, paths, err)
		}
	}
	if state.Dirs[0].Path != "/cg/cpu/c" {
		t.Error("the container's own groups changed")
	}
	for _, args := range [][]string{{""}, {":"}, {":sub"}, {"memory:"}, {".."}, {"../other"}, {"a/../../b"}, {"sub/.."}, {"hugetlb:sub"},
		{"nosuch:sub"}, {"memory,nosuch:sub"}, {"memory:..\n"}, {"a\x00b"}, {"a", "b"}, {"memory:a", "memory:b"}} {
		if got, err := state.Below(args); err == nil || !strings.Contains(err.Error(), "--cgroup") {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
}
