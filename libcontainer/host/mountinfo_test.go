package host

import (
	"reflect"
	"testing"
)

func TestMounts(t *testing.T) {
	got := Mounts([]byte(`22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:5 /a\040b /mnt/x\134y ro,nosuid - devtmpfs udev rw
31 22 0:6 / /z rox - tmpfs none ro
short line
`))
	want := []Mount{
		{ID: "22", Dev: "8:1", Root: "/", Point: "/", Type: "ext4"},
		{ID: "30", Dev: "0:5", Root: "/a b", Point: `/mnt/x\y`, Type: "devtmpfs", Readonly: true},
		{ID: "31", Dev: "0:6", Root: "/", Point: "/z", Type: "tmpfs"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
