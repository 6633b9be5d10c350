package dbus_test

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"berth/cgroups/dbus"
	"berth/cgroups/dbus/dbustest"
)

// What is parsed, its type, and how it is printed; "" where it is printed as it was.
func TestParse(t *testing.T) {
	for _, c := range []struct{ in, sig, out string }{
		{"5", "i", ""},
		{"-5", "i", ""},
		{"0x10", "i", "16"},
		{"2147483647", "i", ""},
		{"1.5", "d", ""},
		{"1e3", "d", "1000.0"},
		{"double 2", "d", "2.0"},
		{"byte 255", "y", ""},
		{"int16 -32768", "n", ""},
		{"uint16 65535", "q", ""},
		{"uint32 7", "u", ""},
		{"int64 -9223372036854775808", "x", ""},
		{"uint64 18446744073709551615", "t", ""},
		{"@t 5", "t", "uint64 5"},
		{"true", "b", ""},
		{"false", "b", ""},
		{"boolean true", "b", "true"},
		{"'text'", "s", ""},
		{`"it's"`, "s", `'it\'s'`},
		{`'a\nb\\c\u00e9\U0001f600'`, "s", `'a\nb\\cé😀'`},
		{"string 'x'", "s", "'x'"},
		{"objectpath '/a/b_1'", "o", ""},
		{"signature 'a(sv)'", "g", ""},
		{"['a', 'b']", "as", ""},
		{"['a','b',]", "", "!a value is missing"},
		{"[uint64 1, 2]", "at", ""},
		{"@at [1, 2]", "at", "[uint64 1, 2]"},
		{"@as []", "as", ""},
		{"[['a'], ['b', 'c']]", "aas", ""},
		{"('a', uint64 5)", "(st)", ""},
		{"(1,)", "(i)", ""},
		{"[('a', 'b'), ('c', 'd')]", "a(ss)", ""},
		{"@a(st) [('/dev/sda', 5)]", "a(st)", "[('/dev/sda', uint64 5)]"},
		{"  [ 1 ,\t2 ]\n", "ai", "[1, 2]"},

		{"", "", "!a value is missing"},
		{"text", "", "!a string needs quotes"},
		{"'text", "", "!does not end"},
		{`'a\u00g0'`, "", `!takes 4 hexadecimal digits`},
		{`'a\u0000'`, "", "!holds no NUL"},
		{"5x", "", "!is no value of type i"},
		{"2147483648", "", "!is no value of type i"},
		{"1_000", "", "!needs quotes"},
		{"byte 256", "", "!is no value of type y"},
		{"uint64 -1", "", "!is no value of type t"},
		{"uint64 1.5", "", "!is no value of type t"},
		{"uint64 true", "", "!is no value of type t"},
		{"uint64 uint32 5", "", "!is of type u where t is wanted"},
		{"uint64 [5]", "", "!an array is no value of type t"},
		{"string (1,)", "", "!a structure is no value of type s"},
		{"nan", "", "!needs quotes"},
		{"[]", "", "!an empty array needs a type"},
		{"[1 2]", "", "!parted by commas"},
		{"[1, 'a']", "", "!a string is no value of type i"},
		{"[1, 2.5]", "", "!is no value of type i"},
		{"[", "", "!a value is missing"},
		{"()", "", "!too few fields"},
		{"@(ss) ('a',)", "", "!too few fields"},
		{"@(s) ('a', 'b')", "", "!has 1 fields"},
		{"('a' 'b')", "", "!parted by commas"},
		{"@a 5", "", "!is not a type"},
		{"@a{sv} []", "", "!is not a type"},
		{"@h 5", "", "!is not a type"},
		{"@v <5>", "", "!is not a type"},
		{"{'a': 1}", "", "!dictionaries and variants"},
		{"<1>", "", "!dictionaries and variants"},
		{"objectpath 'a'", "", "!is no object path"},
		{"objectpath '/a/'", "", "!is no object path"},
		{"signature 'z'", "", "!is no signature"},
		{"1 2", "", "!there is more"},
		{"'a' 'b'", "", "!there is more"},
		{"'\xff'", "", "!not UTF-8"},
		{strings.Repeat("[", 5000), "", "!nested too deeply"},
	} {
		v, err := dbus.Parse(c.in)
		if want, refused := strings.CutPrefix(c.out, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %+v, %v", c.in, v.Sig, err)
			}
			continue
		}
		if c.out == "" {
			c.out = c.in
		}
		if err != nil || v.Sig != c.sig || v.String() != c.out {
			t.Errorf("%q: %s of type %s, %v", c.in, v, v.Sig, err)
			continue
		}
		if again, err := dbus.Parse(v.String()); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%q printed and read again: %v, %v", c.in, again, err)
		}
	}
}

// A call byte for byte (D-Bus specification, "Message Format"): what systemd's own client would send.
func TestEncoding(t *testing.T) {
	m := dbus.Message{Type: dbus.TypeCall, Serial: 1, Path: "/a", Member: "M", Body: []dbus.Value{
		dbus.String("u"), dbus.Array("(sv)", dbus.Struct(dbus.String("P"), dbus.Variant(dbus.Uint64(5))))}}
	want := "l\x01\x00\x01" + "\x28\x00\x00\x00" + "\x01\x00\x00\x00" + "\x2c\x00\x00\x00" +
		"\x01\x01o\x00\x02\x00\x00\x00/a\x00" + "\x00\x00\x00\x00\x00" +
		"\x03\x01s\x00\x01\x00\x00\x00M\x00" + "\x00\x00\x00\x00\x00\x00" +
		"\x08\x01g\x00\x06sa(sv)\x00"
	want += strings.Repeat("\x00", -len(want)&7)
	want += "\x01\x00\x00\x00u\x00\x00\x00" + "\x18\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\x00\x00P\x00\x01t\x00\x00\x00\x00\x00\x00\x00\x00" + "\x05\x00\x00\x00\x00\x00\x00\x00"
	if got := string(m.Encode()); got != want {
		t.Errorf("\ngot:  %q\nwant: %q", got, want)
	}
}

func messages() []dbus.Message {
	var body []dbus.Value
	for _, text := range []string{"byte 1", "int16 -2", "uint16 3", "-4", "uint32 5", "int64 -6", "uint64 7", "8.5", "true", "'x'",
		"objectpath '/'", "signature 'as'", "@as []", "@at []", "['a', 'bc']", "[('a', uint64 1), ('b', 2)]", "(byte 1, 'x', uint64 2)"} {
		v, err := dbus.Parse(text)
		if err != nil {
			panic(err)
		}
		body = append(body, v, dbus.Variant(v))
	}
	return []dbus.Message{
		{Type: dbus.TypeCall, Serial: 1, Path: "/o", Interface: "i.i", Member: "M", Destination: "d.d", Body: body},
		{Type: dbus.TypeError, Serial: 2, ReplySerial: 1, ErrorName: "e.e", Body: []dbus.Value{dbus.String("why")}},
		{Type: dbus.TypeReply, Serial: 3, ReplySerial: 1},
		{Type: dbus.TypeSignal, Serial: 4, Path: "/o", Interface: "i.i", Member: "S", Body: []dbus.Value{dbus.Bytes([]byte{1, 2}), dbus.Bool(false)}},
	}
}

func TestMessagesComeBack(t *testing.T) {
	for _, m := range messages() {
		raw := m.Encode()
		if n, err := dbus.Size(raw); err != nil || n != len(raw) {
			t.Errorf("size %d of %d, %v", n, len(raw), err)
		}
		if got, err := dbus.Decode(raw); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%v\ngot:  %+v\nwant: %+v", err, got, m)
		}
	}
}

// Whatever comes is read or refused, and nothing makes the reader panic.
func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		raw := m.Encode()
		f.Add(raw)
		for n := range raw {
			f.Add(raw[:n])
			damaged := append([]byte{}, raw...)
			damaged[n] ^= 0x81
			f.Add(damaged)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < dbus.HeadSize {
			return
		}
		if n, err := dbus.Size(raw); err == nil && n == len(raw) {
			dbus.Decode(raw)
		}
	})
}

// A length of 4 GiB is refused before anything is allocated for it.
func TestSizes(t *testing.T) {
	for _, at := range []int{4, 12} {
		head := messages()[2].Encode()[:dbus.HeadSize]
		binary.LittleEndian.PutUint32(head[at:], 1<<31)
		if _, err := dbus.Size(head); err == nil {
			t.Errorf("taken: % x", head)
		}
	}
}

func TestConversation(t *testing.T) {
	signal := dbus.Message{Type: dbus.TypeSignal, Path: "/o", Interface: "i.i", Member: "Done", Body: []dbus.Value{dbus.Uint32(7)}}
	path := dbustest.Serve(t, func(c *dbustest.Conn, call dbus.Message) {
		switch call.Member {
		case "Echo": // after a signal and a reply to something else
			c.Send(signal)
			c.Send(dbus.Message{Type: dbus.TypeReply, ReplySerial: call.Serial + 9, Body: []dbus.Value{dbus.String("no")}})
			c.Reply(call, call.Body...)
		case "Refuse":
			c.Refuse(call, "x.y.No", "because")
		case "HangUp":
			c.Close()
		case "Noise":
			c.Write([]byte(strings.Repeat("?", 100)))
		}
	})
	conn, err := dbus.Dial(path, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long := dbus.String(strings.Repeat("long", 20000))
	if got, err := conn.Call(dbus.Message{Path: "/o", Member: "Echo", Body: []dbus.Value{long}}); err != nil || len(got) != 1 || got[0].Text != long.Text {
		t.Errorf("echo: %v", err)
	}
	if m, err := conn.Signal(func(m dbus.Message) bool { return m.Member == "Done" }); err != nil || m.Body[0].Bits != 7 {
		t.Errorf("signal: %v, %v", m, err)
	}
	var refused *dbus.CallError
	if _, err := conn.Call(dbus.Message{Path: "/o", Member: "Refuse"}); !errors.As(err, &refused) || refused.Name != "x.y.No" || refused.Error() != "because" {
		t.Errorf("refused: %v", err)
	}
	if _, err := conn.Call(dbus.Message{Path: "/o", Member: "Silence"}); err != dbus.ErrTimeout {
		t.Errorf("silence: %v", err)
	}
	for _, member := range []string{"HangUp", "Noise"} {
		conn, err := dbus.Dial(path, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := conn.Call(dbus.Message{Path: "/o", Member: member}); err == nil || err == dbus.ErrTimeout {
			t.Errorf("%s: %v, %v", member, got, err)
		}
		conn.Close()
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := dbus.Dial(t.TempDir()+"/none", time.Second); err == nil {
		t.Error("connected to nothing")
	}
}
