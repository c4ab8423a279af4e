package wasm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime/wasm"
)

const header = "\x00asm\x01\x00\x00\x00"

func TestSniff(t *testing.T) {
	for _, c := range []struct {
		file   string
		format wasm.Format
		words  string
	}{
		{header, wasm.CoreModule, ""},
		{"\x00asm\x0d\x00\x01\x00", wasm.Component, ""},
		{"\x00asm\x02\x00\x00\x00", wasm.Unknown, "version"},
		{"\x00asm", wasm.Unknown, "cut short"},
		{"", wasm.Unknown, "empty"},
		{"<!DOCTYPE html><title>404</title>", wasm.Unknown, "HTML"},
		{"\n <HTML>", wasm.Unknown, "HTML"},
		{"(module (func))", wasm.Unknown, "WebAssembly text"},
		{"\x1f\x8b\x08", wasm.Unknown, "gzip"},
		{"PK\x03\x04", wasm.Unknown, "zip"},
		{"\x7fELF\x02", wasm.Unknown, "ELF"},
		{"!<arch>\n", wasm.Unknown, "archive"},
		{"#!/bin/sh", wasm.Unknown, "script"},
		{`{"a":1}`, wasm.Unknown, "JSON"},
		{"version https://git-lfs.github.com/spec/v1", wasm.Unknown, "LFS"},
		{"\xff\xfe\xfd", wasm.Unknown, "something else"},
	} {
		if f, words := wasm.Sniff([]byte(c.file)); f != c.format || !strings.Contains(words, c.words) {
			t.Errorf("Sniff(%q) = %v, %q, want %v, %q", c.file, f, words, c.format, c.words)
		}
	}
}

func TestRead(t *testing.T) {
	module := header +
		"\x01\x04\x01\x60\x00\x00" + // type: () -> ()
		"\x02\x09\x01\x03env\x01f\x00\x00" + // import env.f
		"\x03\x02\x01\x00" + // one function
		"\x04\x05\x01\x70\x01\x01\x02" + // table of 1 to 2
		"\x05\x03\x01\x00\x02" + // memory from 2 pages
		"\x07\x0a\x01\x06_start\x00\x01" + // export
		"\x0a\x04\x01\x02\x00\x0b" + // code
		"\x00\x19\x0ftarget_features\x01+\x06simd12" // custom
	m, err := wasm.Read([]byte(module))
	if err != nil {
		t.Fatal(err)
	}
	want := &wasm.Module{
		Imports: []wasm.Import{{Module: "env", Name: "f"}}, Exports: []wasm.Export{{Name: "_start"}},
		Memory: &wasm.Limits{Min: 2}, Tables: []wasm.Limits{{Min: 1, Max: 2, HasMax: true}}, Functions: 1, Features: []string{"simd12"},
		Sections: []wasm.Section{
			{Name: "type", Size: 4},
			{Name: "import", Size: 9},
			{Name: "function", Size: 2},
			{Name: "table", Size: 5},
			{Name: "memory", Size: 3},
			{Name: "export", Size: 10},
			{Name: "code", Size: 4},
			{Name: "target_features", Custom: true, Size: 25},
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	if !m.Exported("_start") || m.Exported("memory") || !m.ImportsFrom("env") || m.ImportsFrom("wasi") {
		t.Error("Exported or ImportsFrom is wrong")
	}
}

func TestReadNamesTheFeature(t *testing.T) {
	for want, section := range map[string]string{
		wasm.Threads:    "\x05\x04\x01\x03\x01\x02",
		wasm.Memory64:   "\x05\x03\x01\x04\x01",
		wasm.Exceptions: "\x0d\x03\x01\x00\x00",
		wasm.GC:         "\x01\x03\x01\x5f\x00",
		wasm.Memories:   "\x05\x05\x02\x00\x01\x00\x01",
	} {
		_, err := wasm.Read([]byte(header + section))
		var f *wasm.FeatureError
		if !errors.As(err, &f) || f.Feature != want {
			t.Errorf("Read of a module with %s: %v", want, err)
		}
	}
}

func TestReadRefusesDamage(t *testing.T) {
	for section, words := range map[string]string{
		"\x01\x10\x01":                      "16 bytes announced, 1 left",
		"\x02\x05\xff\xff\xff\xff\x0f":      "4294967295 elements announced, 0 bytes left",
		"\x02\x05\xff\xff\xff\xff\x7f":      "more than 32 bits",
		"\x02\x05\x01\xff\x01\x61\x62":      "255 bytes announced",
		"\x02\x07\x01\x01\xff\x01f\x00\x00": "not UTF-8",
		"\x63\x01\x00":                      "section 99",
		"\x02\x07\x01\x01a\x01f\x09\x00":    "kind 9",
	} {
		if _, err := wasm.Read([]byte(header + section)); !errors.Is(err, wasm.ErrMalformed) || !strings.Contains(err.Error(), words) {
			t.Errorf("Read(…%q): %v, want ErrMalformed with %q", section, err, words)
		}
	}
}

// FuzzRead checks that no file makes Read panic or hold more than the file justifies.
func FuzzRead(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "\x02\x09\x01\x03env\x01f\x00\x00\x05\x03\x01\x00\x02\x07\x0a\x01\x06_start\x00\x01"))
	f.Add([]byte(header + "\x02\x05\xff\xff\xff\xff\x0f"))
	f.Add([]byte(header + "\x04\x05\x01\x70\x01\x01\x02\x0d\x01\x00"))
	f.Add([]byte(header + "\x00\x19\x0ftarget_features\x01+\x06simd12"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wasm.Read(b)
		var feature *wasm.FeatureError
		switch {
		case err != nil && !errors.Is(err, wasm.ErrMalformed) && !errors.As(err, &feature):
			t.Fatalf("error %v is neither ErrMalformed nor a FeatureError", err)
		case err != nil:
			return
		}
		if n := len(m.Imports) + len(m.Exports) + len(m.Tables) + len(m.Sections) + len(m.Features); n > len(b) {
			t.Fatalf("%d entries from %d bytes", n, len(b))
		}
		if f, _ := wasm.Sniff(b); f != wasm.CoreModule {
			t.Fatalf("read what Sniff calls %v", f)
		}
	})
}

func TestReadRealModules(t *testing.T) {
	m, err := wasm.Read(guests.C(t, "internal/guests/c/cgi.c"))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Exported("_start") || !m.ImportsFrom("wasi_snapshot_preview1") || m.Memory == nil || m.Functions == 0 {
		t.Errorf("a C program: %+v", m)
	}
	if !slices.ContainsFunc(m.Sections, func(s wasm.Section) bool { return s.Name == "code" && s.Size > 1000 }) {
		t.Errorf("its sections: %v", m.Sections)
	}
}
