package rootfs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestOptions reads each list and prints what it means.
//
//spec:8,9,10,11,12,13,14,15,16,17
func TestOptions(t *testing.T) {
	for given, want := range map[string]string{
		"":                                "",
		"defaults":                        "",
		"defaults,auto,noauto,nofail":     "",
		"_netdev,nouser,x-systemd.a=b":    "",
		"X-mount.mkdir,comment=hello":     "",
		"ro":                              "ro",
		"rw":                              "rw",
		"ro,rw":                           "rw",
		"rw,ro":                           "ro",
		"nosuid,nodev,noexec":             "nosuid,nodev,noexec",
		"suid,dev,exec":                   "suid,dev,exec",
		"nosuid,suid,nosuid":              "nosuid",
		"nodiratime,diratime":             "diratime",
		"diratime,nodiratime":             "nodiratime",
		"nosymfollow":                     "nosymfollow",
		"nosymfollow,symfollow":           "symfollow",
		"noatime":                         "noatime",
		"atime":                           "relatime",
		"noatime,atime":                   "relatime",
		"noatime,strictatime":             "strictatime",
		"strictatime,noatime":             "noatime",
		"strictatime,relatime":            "relatime",
		"strictatime,nostrictatime":       "relatime",
		"relatime":                        "relatime",
		"norelatime":                      "",
		"rnorelatime":                     "",
		"rro":                             "rro",
		"rrw":                             "rrw",
		"rro,rrw":                         "rrw",
		"rnosuid,rnodev,rnoexec":          "rnosuid,rnodev,rnoexec",
		"rsuid,rdev,rexec":                "rsuid,rdev,rexec",
		"rnodiratime":                     "rnodiratime",
		"rdiratime":                       "rdiratime",
		"rnoatime":                        "rnoatime",
		"ratime":                          "rrelatime",
		"rrelatime":                       "rrelatime",
		"rstrictatime":                    "rstrictatime",
		"rstrictatime,rnostrictatime":     "rrelatime",
		"rnosymfollow":                    "rnosymfollow",
		"rsymfollow":                      "rsymfollow",
		"ro,rrw":                          "ro,rrw",
		"sync":                            "sync",
		"sync,async":                      "",
		"dirsync,lazytime,mand":           "dirsync,lazytime,mand",
		"lazytime,nolazytime,mand,nomand": "",
		"silent":                          "silent",
		"silent,loud":                     "",
		"iversion":                        "iversion",
		"iversion,noiversion":             "",
		"shared":                          "shared",
		"rshared":                         "rshared",
		"slave,rshared":                   "slave,rshared",
		"rslave":                          "rslave",
		"private":                         "private",
		"rprivate":                        "rprivate",
		"unbindable":                      "unbindable",
		"runbindable":                     "runbindable",
		"idmap":                           "idmap",
		"ridmap":                          "ridmap",
		"tmpcopyup":                       "tmpcopyup",
		"size=64m,mode=1777":              "size=64m,mode=1777",
		"newinstance,gid=5":               "newinstance,gid=5",
		"key=":                            "key=",
		"key=a=b":                         "key=a=b",
		"NOSUID":                          "NOSUID", // options are case-sensitive: the file system's
		"ro,size=1,nosuid":                "ro,nosuid,size=1",
	} {
		var list []string
		if given != "" {
			list = strings.Split(given, ",")
		}
		if got := strings.Join(ParseOptions(list).Strings(), ","); got != want {
			t.Errorf("%s: got %q, want %q", given, got, want)
		}
	}
}

func TestOptionsBind(t *testing.T) {
	for given, want := range map[string]Flags{
		"bind":       {Bind: true},
		"rbind":      {Bind: true, Recursive: true},
		"rbind,bind": {Bind: true},
		"bind,rbind": {Bind: true, Recursive: true},
		"remount":    {Remount: true},
	} {
		got := ParseOptions(strings.Split(given, ","))
		if got.Bind != want.Bind || got.Recursive != want.Recursive || got.Remount != want.Remount {
			t.Errorf("%s: got %+v", given, got)
		}
	}
}

// TestOptionsSpec has every option of config.md's table.
//
//spec:8,9,10,11,12,13,14,15,16,17
func TestOptionsSpec(t *testing.T) {
	const spec = `async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
		noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
		relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate
		rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid
		symfollow sync tmpcopyup unbindable idmap ridmap`
	known := KnownOptions()
	for _, name := range strings.Fields(spec) {
		if !slices.Contains(known, name) {
			t.Errorf("%s is not known", name)
		}
		if f := ParseOptions([]string{name}); len(f.Params) != 0 {
			t.Errorf("%s goes to the file system", name)
		}
	}
	if !slices.IsSorted(known) {
		t.Error("the table is not sorted, so that options are not found")
	}
}

func TestFlagsJSON(t *testing.T) {
	for given, want := range map[string]string{"": `[]`, "ro,size=1": `["ro","size=1"]`} {
		raw, err := json.Marshal(ParseOptions(strings.Split(given, ",")))
		if err != nil || string(raw) != want {
			t.Errorf("%q: got %s, %v", given, raw, err)
		}
	}
}

// FuzzOptions reads any list of options and holds the meaning to the table: an
// independent reading of it, one bit at a time from the back, and a second
// reading of what is printed.
func FuzzOptions(f *testing.F) {
	for _, o := range options {
		f.Add(o.name + ",ro," + o.name)
	}
	f.Add("noatime,strictatime,rw,ro,size=1,size=2,x-a,key=a=b,=,\x00,rrelatime,ratime,idmap,ridmap,rbind,bind")
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, ",")
		got := ParseOptions(list)
		var want Flags
		var known, params int
		decided := map[effect]uint64{} // bits that an option further back has settled
		for i, name := range slices.Backward(list) {
			at := slices.IndexFunc(options[:], func(o option) bool { return o.name == name })
			if at < 0 {
				if name != "" && !strings.HasPrefix(name, "x-") && !strings.HasPrefix(name, "X-") && !strings.HasPrefix(name, "comment=") {
					params++
					p := got.Params[len(got.Params)-params]
					if p.String() != name || p.At != i {
						t.Errorf("parameter %+v of %q", p, name)
					}
				}
				continue
			}
			known++
			o := options[at]
			free := (o.set | o.clear) &^ decided[o.effect]
			decided[o.effect] |= o.set | o.clear
			switch o.effect {
			case attr:
				want.Attr.Set, want.Attr.Clear = want.Attr.Set|o.set&free, want.Attr.Clear|o.clear&free
			case recursive:
				want.Rec.Set, want.Rec.Clear = want.Rec.Set|o.set&free, want.Rec.Clear|o.clear&free
			case super:
				want.SB |= o.set & free
			case propagate:
				want.Propagation = append(want.Propagation, Propagation{o.set, i})
			case bind:
				if !want.Bind {
					want.Bind, want.Recursive = true, name == "rbind"
				}
			case remount:
				want.Remount = true
			case copyUp:
				want.CopyUp = true
			case idmap:
				if want.IDMap == IDMapNone {
					want.IDMap = map[string]IDMapKind{"idmap": IDMapOne, "ridmap": IDMapRecursive}[name]
				}
			}
		}
		slices.Reverse(want.Propagation)
		// A value of the access time that is cleared before it is set is set:
		// the field is one.
		if got.Attr.Set != want.Attr.Set || got.Rec.Set != want.Rec.Set || got.SB != want.SB ||
			got.Attr.Set&got.Attr.Clear&^atime != 0 || got.Rec.Set&got.Rec.Clear&^atime != 0 ||
			got.Attr.Clear&^atime != want.Attr.Clear&^atime || got.Rec.Clear&^atime != want.Rec.Clear&^atime ||
			!slices.Equal(got.Propagation, want.Propagation) || got.Bind != want.Bind || got.Recursive != want.Recursive ||
			got.Remount != want.Remount || got.CopyUp != want.CopyUp || got.IDMap != want.IDMap || len(got.Params) != params {
			t.Errorf("%q:\n got: %+v\nwant: %+v", text, got, want)
		}
		for _, a := range []Attr{got.Attr, got.Rec} {
			if bits := a.Set & atime; bits != 0 && (bits == atime || a.Clear&atime == 0 && bits != 0) {
				t.Errorf("%q: no value of the access time: %+v", text, a)
			}
		}
		again := ParseOptions(got.Strings())
		if got.Attr != again.Attr || got.Rec != again.Rec || got.SB != again.SB || got.IDMap != again.IDMap || len(got.Params) != len(again.Params) {
			t.Errorf("%q is printed as %q", text, got.Strings())
		}
		if known == 0 && len(got.Strings()) != params {
			t.Errorf("%q means %q", text, got.Strings())
		}
	})
}
