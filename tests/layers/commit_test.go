package layers

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// The same changes make the same layer, and with a given time the same image.
func TestCommitIsReproducible(t *testing.T) {
	needRoot(t)
	s := newStore(t, t.TempDir())
	defer unmountBelow(s.dir)
	s.run("pull", "--backend", "dir", "oci:app", "app")
	type made struct{ ID, Digest, DiffID string }
	commit := func(n int, env string) (out made) {
		t.Helper()
		bundle := fmt.Sprint("bundle", n)
		s.run("create", "app", bundle)
		defer s.run("rm", bundle)
		for _, err := range []error{
			os.WriteFile(s.path(bundle+"/rootfs/app/log"), []byte("written"), 0o640), os.Remove(s.path(bundle + "/rootfs/app/page")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		cmd := s.command(nil, "--json", "commit", bundle, bundle)
		cmd.Env = append(os.Environ(), env)
		o := s.finish(cmd)
		if err := json.Unmarshal([]byte(o.out), &out); err != nil {
			t.Fatalf("%v: %s%s", err, o.out, o.err)
		}
		return out
	}
	// The files are newer than that, and so they are said to be of then.
	one, two := commit(1, "SOURCE_DATE_EPOCH=1000000000"), commit(2, "SOURCE_DATE_EPOCH=1000000000")
	if one != two || one.DiffID == "" {
		t.Errorf("%+v and %+v", one, two)
	}
	if other := commit(3, "SOURCE_DATE_EPOCH=1000000001"); other.DiffID == one.DiffID || other.ID == one.ID {
		t.Errorf("%+v is of another time than %+v", other, one)
	}
	s.clean()
	s.unmounted()
}
