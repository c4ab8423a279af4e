package wasm

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// decoder reads from b; after the first fault it returns zeros and keeps err.
type decoder struct {
	b   []byte
	at  int
	err error
}

func (d *decoder) left() int { return len(d.b) - d.at }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	d.at = len(d.b)
}

// refuse stops reading with err.
func (d *decoder) refuse(err error) {
	if d.err == nil {
		d.err = err
	}
	d.at = len(d.b)
}

func (d *decoder) byte() byte {
	if d.left() < 1 {
		d.fail("the file is cut short")
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

// peek returns the next byte, 0 at the end.
func (d *decoder) peek() byte {
	if d.left() < 1 {
		return 0
	}
	return d.b[d.at]
}

func (d *decoder) bytes(n uint32) []byte {
	if int64(n) > int64(d.left()) {
		d.fail("%d bytes announced, %d left", n, d.left())
		return nil
	}
	d.at += int(n)
	return d.b[d.at-int(n) : d.at]
}

// u32 reads an unsigned LEB128 of at most 32 bits (core specification, 5.2.2).
func (d *decoder) u32() uint32 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 { // small enough to be inlined
		d.at++
		return uint32(d.b[d.at-1])
	}
	return d.longU32()
}

func (d *decoder) longU32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := d.byte()
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	d.fail("a number of more than 32 bits")
	return 0
}

// s32 reads a signed LEB128 of at most 32 bits.
func (d *decoder) s32() int32 {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		c := d.byte()
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			if v != int64(int32(v)) {
				break
			}
			return int32(v)
		}
	}
	d.fail("a number of more than 32 bits")
	return 0
}

// count reads the length of a vector, each element of which takes at least a byte.
func (d *decoder) count() uint32 {
	n := d.u32()
	if int64(n) > int64(d.left()) {
		d.fail("%d elements announced, %d bytes left", n, d.left())
		return 0
	}
	return n
}

// counted is count for what may be at most limit of what.
func (d *decoder) counted(what string, limit uint64) int {
	n := d.count()
	if uint64(n) > limit {
		d.refuse(&LimitError{What: what, Has: uint64(n), Max: limit})
		return 0
	}
	return int(n)
}

// index reads an index below n of what.
func (d *decoder) index(what string, n int) uint32 {
	i := d.u32()
	if d.err == nil && uint64(i) >= uint64(n) {
		d.fail("%s %d of %d", what, i, n)
		return 0
	}
	return i
}

// flag reads a byte that must be 0 or 1.
func (d *decoder) flag(what string) bool {
	c := d.byte()
	if c > 1 {
		d.fail("%s %#x", what, c)
	}
	return c == 1
}

// skipLEB skips a LEB128 of at most bits.
func (d *decoder) skipLEB(bits int) {
	for n := 0; n < bits; n += 7 {
		if d.byte() < 0x80 {
			return
		}
	}
	d.fail("a number of more than %d bits", bits)
}

func (d *decoder) name() string {
	b := d.bytes(d.u32())
	if !utf8.Valid(b) {
		d.fail("a name that is not UTF-8: %q", strings.ToValidUTF8(string(b[:min(len(b), 64)]), "?"))
		return ""
	}
	return string(b)
}

// refType reads the type of a table's elements (5.3.3).
func (d *decoder) refType() error {
	switch t := d.byte(); {
	case d.err != nil, t == 0x70, t == 0x6f: // funcref, externref
		return d.err
	default:
		return &FeatureError{Feature: GC}
	}
}

// valType reads a value type (5.3.4).
func (d *decoder) valType() error {
	switch t := d.byte(); {
	case d.err != nil, t >= 0x7b && t <= 0x7f, t == 0x70, t == 0x6f:
		return d.err
	case t == 0x69: // exnref
		return &FeatureError{Feature: Exceptions}
	case t == 0x63, t == 0x64: // (ref null …), (ref …)
		return &FeatureError{Feature: FunctionReferences}
	default:
		return &FeatureError{Feature: GC}
	}
}

// limits reads the limits of a memory or table (5.3.7, with the flags of the
// threads and memory64 proposals).
func (d *decoder) limits() (Limits, error) {
	flags := d.byte()
	switch {
	case d.err != nil:
		return Limits{}, d.err
	case flags&0x4 != 0:
		return Limits{}, &FeatureError{Feature: Memory64}
	case flags&0x2 != 0:
		return Limits{}, &FeatureError{Feature: Threads}
	case flags > 1:
		return Limits{}, fmt.Errorf("%w: limits with flags %#x", ErrMalformed, flags)
	}
	l := Limits{Min: d.u32(), HasMax: flags == 1}
	if l.HasMax {
		l.Max = d.u32()
	}
	return l, nil
}
