package process

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestReadFormat(t *testing.T) {
	long := "#!/" + strings.Repeat("x", 300)
	for _, tt := range []struct {
		head        string
		interpreter string
		problem     string // a part of it
	}{
		{"", "", "it is empty"},
		{"#!/bin/sh\nx", "/bin/sh", ""},
		{"#! \t/bin/sh -eu -o pipefail\n", "/bin/sh", ""},
		{"#!/bin/sh\t-x\n", "/bin/sh", ""},
		{"#!/bin/sh", "/bin/sh", ""},
		{"#!/bin/sh\r\n", "/bin/sh\r", ""},
		{"#!/bin/sh -e\r\n", "/bin/sh", ""}, // the argument has it, which is the interpreter's
		{"#!sh\n", "sh", ""},
		{"#!\n/bin/sh", "", "names no interpreter"},
		{"#!  \r\n", "", "names no interpreter"},
		{"#!/bin/\x00sh\n", "/bin/", ""},
		{long, "", "too long for the kernel"},
		{long[:100] + " " + long, long[2:100], ""},
		{"\xef\xbb\xbf#!/bin/sh\n", "", "byte order mark"},
		{"\xef\xbb\xbfecho", "", "a text without a #! line"},
		{"echo hello\n", "", "a text without a #! line"},
		{"MZ\x90\x00", "", "for Windows"},
		{"\xcf\xfa\xed\xfe\x07", "", "for macOS"},
		{"\x7fELF\x02\x01", "", "cut off: 6 bytes"},
		{"\x00\x01\x02\x03", "", ""},
	} {
		got := readFormat([]byte(tt.head), int64(len(tt.head)))
		if got.interpreter != tt.interpreter || (got.problem == "") != (tt.problem == "") || !strings.Contains(got.problem, tt.problem) {
			t.Errorf("%.40q: %+v, want interpreter %q, problem %q", tt.head, got, tt.interpreter, tt.problem)
		}
		if crlf := strings.HasSuffix(tt.interpreter, "\r"); got.crlf != crlf {
			t.Errorf("%.40q: crlf is %v", tt.head, got.crlf)
		}
	}
}

// elfHead is an ELF program's header with one program header, PT_INTERP, behind
// it, and the loader's name behind that.
func elfHead(wide bool, order binary.ByteOrder, machine, kind uint16, loader string) []byte {
	head := make([]byte, 64+56)
	copy(head, "\x7fELF\x01\x01\x01")
	if wide {
		head[4] = 2
	}
	if order == binary.BigEndian {
		head[5] = 2
	}
	order.PutUint16(head[16:], kind)
	order.PutUint16(head[18:], machine)
	if wide {
		order.PutUint64(head[32:], 64)
		order.PutUint16(head[54:], 56)
		order.PutUint16(head[56:], 1)
		order.PutUint32(head[64:], elfInterpreter)
		order.PutUint64(head[72:], uint64(len(head)))
		order.PutUint64(head[96:], uint64(len(loader)+1))
	} else {
		order.PutUint32(head[28:], 64)
		order.PutUint16(head[42:], 32)
		order.PutUint16(head[44:], 1)
		order.PutUint32(head[64:], elfInterpreter)
		order.PutUint32(head[68:], uint32(len(head)))
		order.PutUint32(head[80:], uint32(len(loader)+1))
	}
	return append(append(head, loader...), 0)
}

func TestReadELF(t *testing.T) {
	here := own[runtime.GOARCH]
	const loader = "/lib/ld-musl-x.so.1"
	for i, wide := range []bool{true, false} {
		head := elfHead(wide, binary.LittleEndian, here[i], elfExecutable, loader)
		got := readFormat(head, int64(len(head)))
		if got.problem != "" || got.loaderAt != int64(len(head)-len(loader)-1) || got.loaderSize != int64(len(loader)+1) {
			t.Errorf("wide %v: %+v", wide, got)
		}
	}
	for _, tt := range []struct {
		head []byte
		want string
	}{
		{elfHead(true, binary.BigEndian, 22, elfExecutable, loader), "it is a program for s390x, and this machine is "},
		{elfHead(true, binary.LittleEndian, 0xffff, 0xfe00, loader), ""},
		{elfHead(true, binary.LittleEndian, here[0], elfRelocatable, loader), "it is an object file"},
		{elfHead(true, binary.LittleEndian, here[0], elfShared, loader)[:100], "it is cut off: 100 bytes, and its headers end at 120"},
		{elfHead(true, binary.LittleEndian, here[0], elfShared, loader)[:125], "its ELF headers are damaged"},
		{elfHead(true, binary.LittleEndian, here[0], 4, loader), ""},
	} {
		got := readFormat(tt.head, int64(len(tt.head)))
		if !strings.HasPrefix(got.problem, tt.want) || tt.want == "" && got.problem != "" {
			t.Errorf("problem %q, want %q", got.problem, tt.want)
		}
	}
}

// Go's own reader finds the same loader in real programs.
func TestReadELFOfPrograms(t *testing.T) {
	for _, path := range []string{"/bin/ls", "/proc/self/exe"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		var want string
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				want = string(raw[p.Off : p.Off+p.Filesz-1])
			}
		}
		got := readFormat(raw[:elfSize], int64(len(raw)))
		name := ""
		if got.loaderSize > 0 {
			name = string(raw[got.loaderAt : got.loaderAt+got.loaderSize-1])
		}
		if got.problem != "" || name != want {
			t.Errorf("%s: loader %q, problem %q; want %q", path, name, got.problem, want)
		}
	}
}

// An image's bytes lead nowhere: no panic, and a loader that is in the file.
func FuzzFormat(f *testing.F) {
	f.Add([]byte("#!/bin/sh\r\n"), int64(11))
	f.Add(elfHead(true, binary.LittleEndian, 62, elfShared, "/lib/ld"), int64(1000))
	f.Add(elfHead(false, binary.BigEndian, 3, elfShared, "/lib/ld"), int64(100))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		head = head[:min(len(head), elfSize)]
		size = max(size, int64(len(head)))
		got := readFormat(head, size)
		if got.loaderSize < 0 || got.loaderSize > 4096 || got.loaderAt < 0 || got.loaderSize > 0 && got.loaderAt+got.loaderSize > size {
			t.Errorf("%+v", got)
		}
		if strings.ContainsFunc(got.problem, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Errorf("a problem has the image's bytes: %q", got.problem)
		}
	})
}
