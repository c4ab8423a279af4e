package wasm

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const magic = "\x00asm"

// Format is what the first bytes of a file say that it is.
type Format int

// The formats that [Sniff] tells apart.
const (
	Unknown Format = iota
	// CoreModule is version 1, layer 0 of the binary format.
	CoreModule
	// Component is layer 1 of the binary format: the component model.
	Component
)

// Sniff returns the format of b and, where it is not a module of a known version,
// words for what it looks like: "a gzip archive", "WebAssembly text".
func Sniff(b []byte) (f Format, looksLike string) {
	if !bytes.HasPrefix(b, []byte(magic)) {
		return Unknown, guess(b)
	}
	if len(b) < 8 {
		return Unknown, "the first bytes of a module: the file is cut short"
	}
	version, layer := binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	switch {
	case version == 1 && layer == 0:
		return CoreModule, ""
	case layer == 1:
		return Component, ""
	}
	return Unknown, "WebAssembly of a version that nobody has defined"
}

func guess(b []byte) string {
	if len(b) == 0 {
		return "an empty file"
	}
	for _, m := range []struct{ prefix, words string }{
		{"\x1f\x8b", "a gzip archive; unpack it first"},
		{"PK\x03\x04", "a zip archive; unpack it first"},
		{"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"},
		{"\x7fELF", "a native Linux program (ELF); build it for WebAssembly"},
		{"\xcf\xfa\xed\xfe", "a native macOS program (Mach-O); build it for WebAssembly"},
		{"MZ", "a native Windows program; build it for WebAssembly"},
		{"!<arch>\n", "an object archive; in Go, package main needs -o and no -buildmode=archive"},
		{"BC\xc0\xde", "LLVM bitcode; link it first"},
		{"#!", "a script"},
		{"version https://git-lfs", "a Git LFS pointer; fetch the file with git lfs pull"},
	} {
		if bytes.HasPrefix(b, []byte(m.prefix)) {
			return m.words
		}
	}
	text := strings.ToLower(strings.TrimSpace(strings.ToValidUTF8(string(b[:min(len(b), 512)]), "")))
	switch {
	case strings.HasPrefix(text, "(module"), strings.HasPrefix(text, "(component"), strings.HasPrefix(text, ";;"):
		return "WebAssembly text; turn it into a binary, for example with wat2wasm"
	case strings.HasPrefix(text, "<!doctype"), strings.HasPrefix(text, "<html"):
		return "an HTML page, perhaps an error page of the server that it came from"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return "JSON"
	}
	return "something else"
}
