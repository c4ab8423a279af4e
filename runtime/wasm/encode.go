package wasm

import "encoding/binary"

// code is a piece of the binary format under construction.
type code struct{ b []byte }

func (c *code) raw(b ...byte) { c.b = append(c.b, b...) }

// u32 appends an unsigned LEB128 (core specification, 5.2.2).
func (c *code) u32(v uint32) { c.b = binary.AppendUvarint(c.b, uint64(v)) }

// s64 appends a signed LEB128.
func (c *code) s64(v int64) {
	for v < -64 || v > 63 {
		c.b = append(c.b, byte(v)|0x80)
		v >>= 7
	}
	c.b = append(c.b, byte(v)&0x7f)
}

func (c *code) name(s string) {
	c.u32(uint32(len(s)))
	c.b = append(c.b, s...)
}

// sized appends b after its length.
func (c *code) sized(b []byte) {
	c.u32(uint32(len(b)))
	c.b = append(c.b, b...)
}

// section appends section id, if it has anything: n entries, which are in b.
func (c *code) section(id byte, n int, b []byte) {
	if n == 0 {
		return
	}
	var count code
	count.u32(uint32(n))
	c.raw(id)
	c.u32(uint32(len(count.b) + len(b)))
	c.raw(count.b...)
	c.raw(b...)
}

// index appends an instruction with one index.
func (c *code) index(op byte, i uint32) {
	c.raw(op)
	c.u32(i)
}

func (c *code) i32(v int32) {
	c.raw(opI32Const)
	c.s64(int64(v))
}

func (c *code) i64(v int64) {
	c.raw(opI64Const)
	c.s64(v)
}
