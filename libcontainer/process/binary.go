package process

import (
	"bytes"
	"encoding/binary"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// What the kernel looks at when it executes a file.
const (
	// headSize is BINPRM_BUF_SIZE: what binfmt_script sees of a file.
	headSize = 256
	// elfSize is as much as an ELF program's headers may take here; the kernel
	// takes a page of program headers.
	elfSize = 64 + 4096
	// nested is how deep scripts may be scripts' interpreters, BINPRM_MAX_RECURSION.
	nested = 5
)

// format is what the beginning of a file says about how it is executed.
type format struct {
	interpreter string // absolute path of the #! line's or of the ELF program's loader
	script      bool
	crlf        bool   // the carriage return is the end of interpreter
	problem     string // why no kernel of this machine executes it; "" where nothing is known
	loaderAt    int64  // of a dynamic ELF program: where its loader's name is in the file,
	loaderSize  int64  // and how long it is with the zero byte
}

// readFormat reads the first bytes of a file of size bytes, at most elfSize of
// them.
func readFormat(head []byte, size int64) format {
	switch {
	case size == 0:
		return format{problem: "it is empty"}
	case bytes.HasPrefix(head, []byte("#!")):
		return readScript(head[:min(len(head), headSize)])
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf#!")):
		return format{problem: "a byte order mark stands before its #!: save it as UTF-8 without one"}
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return readELF(head, size)
	case bytes.HasPrefix(head, []byte("MZ")):
		return format{problem: "it is a program for Windows"}
	case len(head) >= 4 && isMachO(binary.BigEndian.Uint32(head)):
		return format{problem: "it is a program for macOS"}
	case isText(head[:min(len(head), headSize)]):
		return format{problem: "it is a text without a #! line, which names the interpreter"}
	}
	return format{}
}

func isMachO(magic uint32) bool {
	return magic == 0xfeedface || magic == 0xfeedfacf || magic == 0xcefaedfe || magic == 0xcffaedfe
}

func isText(head []byte) bool {
	return !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\r\f", r) || r == '\ufffd' })
}

// readScript reads a #! line as binfmt_script does: blanks, the path up to a
// blank or the end of the line.
func readScript(head []byte) format {
	line, _, ended := bytes.Cut(head[2:], []byte("\n"))
	text := strings.TrimLeft(string(line), " \t")
	name, _, blank := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	name, _, _ = strings.Cut(name, "\x00")
	switch {
	case name == "" || name == "\r":
		return format{script: true, problem: "its first line names no interpreter after #!"}
	case !ended && !blank && len(head) == headSize:
		return format{script: true, problem: "the path in its #! line is too long for the kernel, which reads 256 bytes"}
	case !strings.HasPrefix(name, "/"):
		return format{script: true, interpreter: name}
	}
	return format{script: true, interpreter: name, crlf: strings.HasSuffix(name, "\r")}
}

// ELF: see elf(5).
const (
	elfRelocatable = 1
	elfExecutable  = 2
	elfShared      = 3
	elfInterpreter = 3 // PT_INTERP
)

// machines are the values of e_machine that images come with.
var machines = map[uint16]string{
	3: "x86 (32 bits)", 8: "MIPS", 20: "PowerPC", 21: "PowerPC 64", 22: "s390x", 40: "ARM (32 bits)", 62: "x86-64", 183: "arm64",
	243: "RISC-V", 258: "LoongArch",
}

// own is what the machine executes without an emulator.
var own = map[string][]uint16{"amd64": {62, 3}, "arm64": {183, 40}}

func readELF(head []byte, size int64) format {
	if len(head) < 52 {
		return format{problem: "it is cut off: " + strconv.FormatInt(size, 10) + " bytes are no ELF program"}
	}
	wide := head[4] == 2
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	kind, machine := order.Uint16(head[16:]), order.Uint16(head[18:])
	if problem := foreign(machine, order); problem != "" {
		return format{problem: problem}
	}
	if kind != elfExecutable && kind != elfShared {
		if kind == elfRelocatable {
			return format{problem: "it is an object file that has not been linked"}
		}
		return format{}
	}
	return readSegments(head, wide, order, size)
}

func foreign(machine uint16, order binary.ByteOrder) string {
	here := own[runtime.GOARCH]
	for _, m := range here {
		if m == machine && order == binary.LittleEndian {
			return ""
		}
	}
	name, known := machines[machine]
	if !known || len(here) == 0 {
		return ""
	}
	return "it is a program for " + name + ", and this machine is " + machines[here[0]]
}

// readSegments finds the loader among the program headers.
func readSegments(head []byte, wide bool, order binary.ByteOrder, size int64) format {
	var at int64
	var each, count int
	switch {
	case wide && len(head) >= 64:
		at, each, count = int64(order.Uint64(head[32:])), int(order.Uint16(head[54:])), int(order.Uint16(head[56:]))
	case !wide:
		at, each, count = int64(order.Uint32(head[28:])), int(order.Uint16(head[42:])), int(order.Uint16(head[44:]))
	}
	if least := map[bool]int{true: 56, false: 32}[wide]; each < least || count == 0 || at < 0 {
		return format{}
	}
	if end := at + int64(each)*int64(count); end > size {
		return format{problem: "it is cut off: " + strconv.FormatInt(size, 10) + " bytes, and its headers end at " + strconv.FormatInt(end, 10)}
	}
	for i := range int64(count) {
		from := at + i*int64(each)
		if from+int64(each) > int64(len(head)) {
			break
		}
		segment := head[from:]
		if order.Uint32(segment) != elfInterpreter {
			continue
		}
		if wide {
			return loader(int64(order.Uint64(segment[8:])), int64(order.Uint64(segment[32:])), size)
		}
		return loader(int64(order.Uint32(segment[4:])), int64(order.Uint32(segment[16:])), size)
	}
	return format{}
}

func loader(at, length, size int64) format {
	const pathMax = 4096
	if at < 0 || length < 2 || length > pathMax || at > size-length {
		return format{problem: "its ELF headers are damaged: the name of its loader is not in the file"}
	}
	return format{loaderAt: at, loaderSize: length}
}

// library names the C library whose loader it is, "" for others.
func library(loader string) string {
	name := path.Base(loader)
	switch {
	case strings.HasPrefix(name, "ld-musl-"):
		return "musl"
	case strings.HasPrefix(name, "ld-linux") || name == "ld64.so.1" || name == "ld64.so.2":
		return "glibc"
	}
	return ""
}
