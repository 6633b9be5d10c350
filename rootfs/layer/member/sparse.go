package member

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

const blockSize = 512

var errSparse = errors.New("the map of the sparse file does not fit its data")

// The records of GNU's sparse files in a PAX header (tar.info, Sparse Formats). archive/tar makes one map record of the
// repeated ones of format 0.0.
const (
	recordMap   = "GNU.sparse.map"
	recordMajor = "GNU.sparse.major"
	recordMinor = "GNU.sparse.minor"
	recordSize  = "size"
)

// sparse says whether archive/tar takes h for the header of a sparse file.
func sparse(h *tar.Header) bool {
	switch h.PAXRecords[recordMajor] + "." + h.PAXRecords[recordMinor] {
	case "0.0", "0.1", "1.0":
		return true
	case ".":
		return h.Typeflag == tar.TypeGNUSparse || h.PAXRecords[recordMap] != ""
	}
	return h.Typeflag == tar.TypeGNUSparse // of an unknown version: a plain file
}

// sparseSegments says where the content of a sparse file stands. archive/tar decodes the maps but keeps them to itself,
// so they are read again from headers, the bytes that it consumed, the last of them at the place at; stored is how many
// bytes follow there.
func sparseSegments(h *tar.Header, headers []byte, at int64) (data []Segment, stored int64, err error) {
	main := mainHeader(headers)
	if main == nil {
		return nil, 0, errSparse
	}
	if stored, err = storedSize(h, main); err != nil {
		return nil, 0, err
	}
	var pairs []int64 // offset, length, offset, length, …
	switch {
	case h.Typeflag == tar.TypeGNUSparse:
		pairs, err = oldMap(main)
	case h.PAXRecords[recordMajor] == "1":
		stored -= int64(len(main) - blockSize) // the map is the beginning of the data
		pairs, err = mapAtHead(main[blockSize:])
	default:
		pairs, err = mapInRecord(h.PAXRecords[recordMap])
	}
	if err != nil {
		return nil, 0, err
	}
	data, err = lay(pairs, h.Size, stored, at)
	return data, stored, err
}

// lay turns the pairs of a map into segments, one behind the other in the stream from at on. They must be in order,
// within size, and use up what is stored.
func lay(pairs []int64, size, stored, at int64) ([]Segment, error) {
	var data []Segment
	var pos, used int64
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		offset, length := pairs[0], pairs[1]
		if offset < pos || length < 0 || offset > size || length > size-offset {
			return nil, errSparse
		}
		if length > 0 {
			data = append(data, Segment{At: offset, Offset: at + used, Length: length})
		}
		pos, used = offset+length, used+length
	}
	if used != stored {
		return nil, errSparse
	}
	return data, nil
}

// mainHeader returns headers from the block of the member itself on, behind the extension headers before it.
func mainHeader(headers []byte) []byte {
	for len(headers) >= blockSize {
		switch headers[156] {
		default:
			return headers
		case tar.TypeXHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
		}
		size, ok := numeric(headers[124:136])
		if !ok || size < 0 || size > int64(len(headers)) {
			return nil
		}
		headers = headers[min(int64(len(headers)), blockSize+roundUp(size)):]
	}
	return nil
}

// storedSize is how many bytes of data follow the header: for a sparse file less than its size.
func storedSize(h *tar.Header, main []byte) (int64, error) {
	if record := h.PAXRecords[recordSize]; record != "" {
		return strconv.ParseInt(record, 10, 64)
	}
	size, ok := numeric(main[124:136])
	if !ok {
		return 0, errSparse
	}
	return size, nil
}

// oldMap reads the map of the old GNU format: four pairs in the header at 386, with 21 more in each extension block.
func oldMap(main []byte) ([]int64, error) {
	var pairs []int64
	table, more := main[386:386+4*24], main[482] != 0
	for rest := main[blockSize:]; ; rest = rest[blockSize:] {
		for ; len(table) >= 24 && table[0] != 0; table = table[24:] {
			offset, ok1 := numeric(table[:12])
			length, ok2 := numeric(table[12:24])
			if !ok1 || !ok2 {
				return nil, errSparse
			}
			pairs = append(pairs, offset, length)
		}
		if !more {
			return pairs, nil
		}
		if len(rest) < blockSize {
			return nil, errSparse
		}
		table, more = rest[:21*24], rest[21*24] != 0
	}
}

// mapAtHead reads the map of format 1.0: decimals, one a line, the first is the number of pairs.
func mapAtHead(head []byte) ([]int64, error) {
	first, rest, _ := bytes.Cut(head, []byte{'\n'})
	n, err := strconv.Atoi(string(first))
	if err != nil || n < 0 || n > len(rest)/4 {
		return nil, errSparse
	}
	lines := strings.SplitN(string(rest), "\n", 2*n+1)
	if len(lines) != 2*n+1 {
		return nil, errSparse
	}
	return decimals(lines[:2*n])
}

// mapInRecord reads the map of formats 0.0 and 0.1: decimals with commas between them.
func mapInRecord(record string) ([]int64, error) {
	if record == "" {
		return nil, nil
	}
	return decimals(strings.Split(record, ","))
}

func decimals(words []string) ([]int64, error) {
	numbers := make([]int64, len(words))
	for i, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return nil, errSparse
		}
		numbers[i] = n
	}
	return numbers, nil
}

// numeric reads a number of a header: octal, or base 256 where the first bit is set.
func numeric(field []byte) (int64, bool) {
	if field[0]&0x80 == 0 {
		text := strings.Trim(string(field), " \x00")
		if text == "" {
			return 0, true
		}
		n, err := strconv.ParseUint(text, 8, 63)
		return int64(n), err == nil
	}
	high, low := field[:len(field)-8], field[len(field)-8:]
	n := binary.BigEndian.Uint64(low)
	if high[0] != 0x80 || len(bytes.Trim(high[1:], "\x00")) > 0 || n>>63 != 0 {
		return 0, false
	}
	return int64(n), true
}

func roundUp(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }
