package main

import (
	"bytes"
	"encoding/binary"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeModule KIND FILE writes a WebAssembly module: a CGI program that answers
// "hello from a guest", an http-wasm handler that hands on every request or fails at
// each, or one that is not to be run.
func writeModule(ts *testscript.TestScript, _ bool, args []string) {
	const answer = "Content-Type: text/plain\n\nhello from a guest\n"
	kinds := map[string][]byte{
		"cgi":       cgiModule("wasi_snapshot_preview1", answer),
		"foreign":   cgiModule("env", answer),
		"component": []byte("\x00asm\x0d\x00\x01\x00"),
		"text":      []byte("hello\n"),
		"vector":    withGlobal(cgiModule("wasi_snapshot_preview1", answer)),
		"front":     handlerModule(0x42, 1), // i64.const 1: hand on
		"crash":     handlerModule(0x00),    // unreachable
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
	iovec := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 16), uint32(len(text)))
	return module(
		section(1, vec([]byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 0, 0})),
		section(2, vec(join(name(from), name("fd_write"), []byte{0, 0}))),
		section(3, vec([]byte{1})),
		section(5, vec([]byte{0, 1})),
		section(7, vec(join(name("memory"), []byte{2, 0}), join(name("_start"), []byte{0, 1}))),
		// fd_write(1, 0, 1, 8); drop
		section(10, vec(body(0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a))),
		section(11, vec(data(0, iovec), data(16, []byte(text)))),
	)
}

// withGlobal adds a mutable global of type v128 to what cgiModule returns: a state that
// cannot be put back.
func withGlobal(m []byte) []byte {
	exports := bytes.Index(m, join([]byte{7}, binary.AppendUvarint(nil, 19)))
	global := section(6, vec(join([]byte{0x7b, 1, 0xfd, 0x0c}, make([]byte, 16), []byte{0x0b})))
	return join(m[:exports], global, m[exports:])
}

// handlerModule returns an http-wasm handler whose handle_request has this code, which
// leaves an i64.
func handlerModule(code ...byte) []byte {
	return module(
		section(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 0, 1, 0x7e}, []byte{0x60, 2, 0x7f, 0x7f, 0})),
		section(2, vec(join(name("http_handler"), name("log_enabled"), []byte{0, 0}))),
		section(3, vec([]byte{1}, []byte{2})),
		section(5, vec([]byte{0, 1})),
		section(7, vec(join(name("memory"), []byte{2, 0}), join(name("handle_request"), []byte{0, 1}), join(name("handle_response"), []byte{0, 2}))),
		section(10, vec(body(code...), body())),
	)
}

func module(sections ...[]byte) []byte {
	return join([]byte("\x00asm\x01\x00\x00\x00"), join(sections...))
}

func section(id byte, content []byte) []byte {
	return join([]byte{id}, binary.AppendUvarint(nil, uint64(len(content))), content)
}

func vec(items ...[]byte) []byte { return join([]byte{byte(len(items))}, join(items...)) }

func name(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// body is a function's body without locals.
func body(code ...byte) []byte { return join([]byte{byte(len(code) + 2), 0}, code, []byte{0x0b}) }

// data is an active segment at a small address.
func data(at byte, b []byte) []byte {
	return join([]byte{0, 0x41, at, 0x0b}, binary.AppendUvarint(nil, uint64(len(b))), b)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
