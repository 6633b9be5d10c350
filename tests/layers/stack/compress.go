package stack

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

// compressed returns the layer's blob and the ending of its media type.
func (l *Layer) compressed(tar []byte) (blob []byte, ending string, err error) {
	members, err := l.count("members", 1)
	if err != nil {
		return nil, "", err
	}
	size := (len(tar) + members - 1) / members
	for piece := range slices.Chunk(tar, max(size, 1)) {
		switch {
		case slices.Contains(l.Words, "tar"):
			blob = append(blob, piece...)
		case slices.Contains(l.Words, "zstd"):
			ending = "+zstd"
			blob = append(blob, zstdFrame(piece)...)
		default:
			ending = "+gzip"
			blob = append(blob, gzipMember(piece)...)
		}
	}
	if _, ok := l.Attr("skippable"); ok {
		skip := zstdSkippable("nothing of the layer")
		blob = slices.Concat(skip, blob, skip)
	}
	if tail, ok := l.Attr("tail"); ok {
		blob = append(blob, tail...)
	}
	blob, err = cutOff(blob, l, "blobcut")
	return blob, ending, err
}

func (l *Layer) count(key string, otherwise int) (int, error) {
	text, ok := l.Attr(key)
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 1 {
		err = fmt.Errorf("%s=%s", key, text)
	}
	return n, err
}

func gzipMember(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// zstdFrame makes a frame of blocks that are not compressed, runs of one byte excepted (RFC 8878): so the bytes do not
// depend on anybody's encoder.
func zstdFrame(data []byte) []byte {
	const blockMax = 128 << 10
	out := binary.LittleEndian.AppendUint32(nil, 0xfd2fb528)
	out = append(out, 0xa0) // the content's size in four bytes, a single segment, no checksum
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	blocks := slices.Collect(slices.Chunk(data, blockMax))
	if len(blocks) == 0 {
		blocks = [][]byte{nil}
	}
	for i, block := range blocks {
		last := uint32(0)
		if i == len(blocks)-1 {
			last = 1
		}
		kind, content := uint32(0), block
		if len(block) > 1 && bytes.Count(block, block[:1]) == len(block) {
			kind, content = 1, block[:1]
		}
		head := uint32(len(block))<<3 | kind<<1 | last
		out = append(out, byte(head), byte(head>>8), byte(head>>16))
		out = append(out, content...)
	}
	return out
}

func zstdSkippable(text string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 0x184d2a50)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	return append(out, text...)
}
