package inflate

import "math/bits"

// An entry of a decoding table says what the next bits of the stream mean:
//
//	bits 0–7   how many bits that takes, with the extra bits behind the code
//	bits 8–11  how many of them are the code
//	bits 12–15 flags
//	bits 16–31 the literal, the base of a length or distance, or where the subtable begins
//
// Codes longer than the main table's index lead to a subtable; there bits 8–11 are the number of bits of its index.
const (
	isLiteral  = 1 << 15
	isSubtable = 1 << 14
	isEnd      = 1 << 13
	isInvalid  = 1 << 12
	special    = isSubtable | isEnd | isInvalid
)

const (
	litLenBits = 11
	distBits   = 9
	preBits    = 7
	codeMax    = 15 // bits of the longest code

	// Room for the main table and all subtables, a power of two so that an index can be masked. Each of the 286 or 30
	// symbols shares a subtable with another, for the code is complete: 143 subtables of 1<<4, 15 of 1<<6.
	litLenSize = 8192
	distSize   = 2048
)

// base is an entry without a code: what a symbol stands for.
type base [288]uint32

// entryOf is a length or distance with that many extra bits.
func entryOf(value, extra int) uint32 { return uint32(value)<<16 | uint32(extra) }

// litLens and dists are what the symbols of RFC 1951, 3.2.5 stand for.
var litLens, dists, plain = func() (l, d, p base) {
	for i := range p {
		p[i] = entryOf(i, 0)
		l[i], d[i] = isInvalid, isInvalid
	}
	for i := range 256 {
		l[i] = entryOf(i, 0) | isLiteral
	}
	l[256] = isEnd
	length, distance := 3, 1
	for i := range 28 {
		extra := max(0, i/4-1)
		l[257+i] = entryOf(length, extra)
		length += 1 << extra
	}
	l[285] = entryOf(258, 0)
	for i := range 30 {
		extra := max(0, i/2-1)
		d[i] = entryOf(distance, extra)
		distance += 1 << extra
	}
	return l, d, p
}()

// build fills a table with an index of indexBits for the canonical code (RFC 1951, 3.2.2) that gives each symbol a
// length, 0 for none. As in zlib a code may be incomplete only if it has one symbol, of one bit, or none.
func build(table []uint32, indexBits int, lengths []uint8, symbols *base) bool {
	var count, next [codeMax + 2]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	code, longest := 0, 0
	for n := 1; n <= codeMax; n++ {
		code = (code + count[n-1]) << 1
		next[n] = code
		if count[n] > 0 {
			longest = n
		}
	}
	used := next[longest] + count[longest]
	complete := longest > 0 && used == 1<<longest
	if !complete && (longest > 1 || used > 1) {
		return false
	}
	main := table[:1<<indexBits]
	for i := range main {
		main[i] = isInvalid
	}
	free := len(main) // where the next subtable begins
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		length := int(n)
		reversed := int(bits.Reverse16(uint16(next[length])) >> (16 - length))
		next[length]++
		entry := symbols[symbol] + uint32(length)
		entry |= uint32(length) << 8
		if length <= indexBits {
			for i := reversed; i < len(main); i += 1 << length {
				main[i] = entry
			}
			continue
		}
		free = enter(table, main, free, indexBits, reversed, length, longest, entry)
	}
	return true
}

// enter puts a long code into its subtable, which it begins if it must, and returns where the next one begins. All
// subtables have an index for the longest code: that wastes little and is simple.
func enter(table, main []uint32, free, indexBits, reversed, length, longest int, entry uint32) int {
	head := &main[reversed&(len(main)-1)]
	if *head&isSubtable == 0 {
		*head = uint32(free)<<16 | isSubtable | uint32(longest-indexBits)<<8 | uint32(indexBits)
		free += 1 << (longest - indexBits)
	}
	// In a subtable only the bits behind the index count.
	entry -= uint32(indexBits) | uint32(indexBits)<<8
	start := int(*head >> 16)
	for i := reversed >> indexBits; i < 1<<(longest-indexBits); i += 1 << (length - indexBits) {
		table[start+i] = entry
	}
	return free
}
