package main

import (
	"encoding/binary"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeModule KIND FILE writes a WebAssembly module: a CGI program that answers
// "hello from a guest", or one that is not to be run.
func writeModule(ts *testscript.TestScript, _ bool, args []string) {
	const answer = "Content-Type: text/plain\n\nhello from a guest\n"
	kinds := map[string][]byte{
		"cgi":       cgiModule("wasi_snapshot_preview1", answer),
		"foreign":   cgiModule("env", answer),
		"component": []byte("\x00asm\x0d\x00\x01\x00"),
		"text":      []byte("hello\n"),
	}
	b, ok := kinds[args[0]]
	if !ok {
		ts.Fatalf("no module of kind %q", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

// cgiModule returns a program that imports fd_write from a module of that name
// and writes text to its standard output.
func cgiModule(from, text string) []byte {
	vec := func(items ...[]byte) []byte {
		out := []byte{byte(len(items))}
		for _, i := range items {
			out = append(out, i...)
		}
		return out
	}
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	join := func(parts ...[]byte) []byte {
		var out []byte
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	section := func(id byte, body []byte) []byte {
		return join([]byte{id}, binary.AppendUvarint(nil, uint64(len(body))), body)
	}
	data := func(at byte, b []byte) []byte {
		return join([]byte{0, 0x41, at, 0x0b}, binary.AppendUvarint(nil, uint64(len(b))), b)
	}

	iovec := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 16), uint32(len(text)))
	// fd_write(1, 0, 1, 8); drop
	start := []byte{0, 0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a, 0x0b}
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vec([]byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 0, 0})),
		section(2, vec(join(name(from), name("fd_write"), []byte{0, 0}))),
		section(3, vec([]byte{1})),
		section(5, vec([]byte{0, 1})),
		section(7, vec(join(name("memory"), []byte{2, 0}), join(name("_start"), []byte{0, 1}))),
		section(10, vec(join([]byte{byte(len(start))}, start))),
		section(11, vec(data(0, iovec), data(16, []byte(text)))),
	)
}
