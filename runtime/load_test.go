package runtime_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/wasm"
)

// module encodes a small module: functions imported and exported, all () -> () but
// handle_request, which is () -> i64, and sched_yield, () -> i32; with empty bodies, and a
// memory of pages.
type module struct {
	imports [][2]string
	exports []string
	pages   uint64
	start   bool // the export is also the start function, and traps
	extra   string
}

const magic = "\x00asm\x01\x00\x00\x00"

func section(id byte, items ...string) string {
	body := number(uint64(len(items))) + strings.Join(items, "")
	return string(id) + number(uint64(len(body))) + body
}

func number(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
func name(s string) string   { return number(uint64(len(s))) + s }

func (m module) bytes() []byte {
	var imports, funcs, exports, codes []string
	for _, i := range m.imports {
		typ := "\x00"
		if i[1] == "sched_yield" {
			typ = "\x02"
		}
		imports = append(imports, name(i[0])+name(i[1])+"\x00"+typ)
	}
	for i, e := range m.exports {
		typ, code := "\x00", "\x02\x00\x0b"
		if e == "handle_request" {
			typ, code = "\x01", "\x04\x00\x42\x00\x0b" // i64.const 0
		}
		if m.start {
			code = "\x03\x00\x00\x0b" // unreachable
		}
		funcs, codes = append(funcs, typ), append(codes, code)
		exports = append(exports, name(e)+"\x00"+number(uint64(len(m.imports)+i)))
	}
	b := magic + section(1, "\x60\x00\x00", "\x60\x00\x01\x7e", "\x60\x00\x01\x7f") + section(2, imports...) + section(3, funcs...)
	if m.pages > 0 {
		b += section(5, "\x00"+number(m.pages))
	}
	b += section(7, exports...)
	if m.start {
		b += "\x08\x01" + number(uint64(len(m.imports)))
	}
	return []byte(b + section(10, codes...) + m.extra)
}

func TestLoadTellsWhatToMend(t *testing.T) {
	b := newBench(t, runtime.Config{})
	for _, c := range []struct {
		name  string
		wasm  []byte
		f     *orlav1.Function
		field string
		words []string
	}{
		{name: "html", wasm: []byte("<!doctype html>"), words: []string{"not a WebAssembly module", "HTML"}},
		{name: "text", wasm: []byte("(module)"), words: []string{"wat2wasm"}},
		{name: "gzip", wasm: []byte("\x1f\x8b\x08"), words: []string{"gzip"}},
		{name: "native", wasm: []byte("\x7fELF"), words: []string{"ELF"}},
		{name: "empty", wasm: nil, words: []string{"empty"}},
		{name: "component", wasm: []byte("\x00asm\x0d\x00\x01\x00"), words: []string{"is a component", "later release", "CGI", "http-wasm"}},
		{name: "damaged", wasm: module{exports: []string{"_start"}, pages: 1}.bytes()[:20], words: []string{"damaged", "build it again"}},
		{name: "invalid code", wasm: []byte(magic + section(1, "\x60\x00\x01\x7e") + section(3, "\x00") + section(10, "\x02\x00\x0b")), words: []string{"does not compile"}},
		{name: "threads", wasm: []byte(magic + section(5, "\x03\x01\x02")), words: []string{"threads", "-pthread"}},
		{name: "memory64", wasm: []byte(magic + section(5, "\x04\x01")), words: []string{"memory64", "wasm32"}},
		{name: "exceptions", wasm: []byte(magic + section(13, "\x00\x00")), words: []string{"exception", "-fno-exceptions"}},
		{name: "garbage collection", wasm: []byte(magic + section(1, "\x5f\x00")), words: []string{"garbage collection", "linear memory"}},
		{name: "tail call", wasm: []byte(magic + section(1, "\x60\x00\x00") + section(3, "\x00") + section(10, "\x04\x00\x12\x00\x0b")), words: []string{"tail call", "WebAssembly 2.0"}},
		{name: "atomics", wasm: []byte(magic + section(1, "\x60\x00\x00") + section(3, "\x00") + section(5, "\x00\x01") + section(10, "\x06\x00\xfe\x03\x00\x0b\x0b")), words: []string{"threads"}},
		{name: "reserved name", wasm: module{exports: []string{"_start", wasm.FuelGlobal}, pages: 1}.bytes(), words: []string{`exports "orla:`, "reserved"}},
		{name: "no entry", wasm: module{exports: []string{"add", "mul"}, pages: 1}.bytes(), words: []string{"_start", "handle_request", "add, mul"}},
		{name: "unknown import", wasm: module{imports: [][2]string{{"env", "f"}}, exports: []string{"_start"}, pages: 1}.bytes(), words: []string{"env.f", "no ABI offers", "wasi_snapshot_preview1", "http_handler", "wasm32-wasi"}},
		{name: "AssemblyScript's abort", wasm: module{imports: [][2]string{{"env", "abort"}}, exports: []string{"handle_request"}, pages: 1}.bytes(), words: []string{"env.abort", "--use abort="}},
		{name: "GOOS=js", wasm: module{imports: [][2]string{{"gojs", "runtime.wasmExit"}}, pages: 1}.bytes(), words: []string{"gojs.runtime.wasmExit", "GOOS=wasip1"}},
		{name: "browser", wasm: module{imports: [][2]string{{"wbg", "x"}}}.bytes(), words: []string{"wbg.x", "browser"}},
		{name: "compute", wasm: module{imports: [][2]string{{"fastly_http_req", "x"}}}.bytes(), words: []string{"later release"}},
		{name: "unknown function of a known ABI", wasm: module{imports: [][2]string{{"wasi_snapshot_preview1", "fly"}}}.bytes(), words: []string{"wasi_snapshot_preview1.fly"}},
		{name: "another signature", wasm: module{imports: [][2]string{{"http_handler", "get_uri"}}, exports: []string{"handle_request"}, pages: 1}.bytes(), words: []string{"another signature"}},
		{name: "handler without its export", wasm: guests.C(t, "internal/guests/c/half.c"), words: []string{"imports http_handler but does not export handle_request", "guest.Handle"}},
		{name: "no memory", wasm: module{imports: [][2]string{{"wasi_snapshot_preview1", "sched_yield"}}, exports: []string{"_start"}}.bytes(), words: []string{"has no memory"}},
		{name: "start function that traps", wasm: module{exports: []string{"_start"}, pages: 1, start: true}.bytes(), words: []string{"its initialisation fails", "start function", "unreachable"}},
		{name: "memory over the cap", wasm: module{exports: []string{"_start"}, pages: 33}.bytes(), f: &orlav1.Function{MemoryBytes: 2 << 20}, field: "memory", words: []string{"3 MiB", `memory = "3MiB"`}},
		{name: "negative memory", wasm: cgiGuest(t), f: &orlav1.Function{MemoryBytes: -1}, field: "memory", words: []string{"64KiB"}},
		{name: "too much memory", wasm: cgiGuest(t), f: &orlav1.Function{MemoryBytes: math.MaxInt64}, field: "memory", words: []string{"4GiB"}},
		{name: "no time", wasm: cgiGuest(t), f: &orlav1.Function{Timeout: durationpb.New(0)}, field: "timeout", words: []string{"0s"}},
		{name: "too long", wasm: cgiGuest(t), f: &orlav1.Function{Timeout: durationpb.New(48 * time.Hour)}, field: "timeout", words: []string{"1h"}},
		{name: "too many", wasm: cgiGuest(t), f: &orlav1.Function{Concurrency: 1e6}, field: "concurrency", words: []string{"10000"}},
		{name: "environment name", wasm: cgiGuest(t), f: &orlav1.Function{Env: map[string]string{"a=b": ""}}, field: "env", words: []string{`"a=b"`}},
		{name: "environment value", wasm: cgiGuest(t), f: &orlav1.Function{Env: map[string]string{"A": "\x00"}}, field: "env", words: []string{"NUL"}},
		{name: "environment size", wasm: cgiGuest(t), f: &orlav1.Function{Args: []string{strings.Repeat("x", 1<<20)}}, field: "env", words: []string{"262144"}},
		{name: "small table", wasm: cgiGuest(t), f: &orlav1.Function{Limits: &orlav1.Limits{TableElements: 1}}, field: "limits.table", words: []string{"set limits.table = "}},
		{name: "pooled program", wasm: cgiGuest(t), f: &orlav1.Function{Isolation: orlav1.Isolation_ISOLATION_POOLED}, field: "isolation", words: []string{"CGI", "http-wasm"}},
		{name: "missing file", wasm: cgiGuest(t), f: &orlav1.Function{Files: []*orlav1.File{{Path: "/a", Digest: modules.Sum([]byte("gone")).String()}}}, field: "files[/a]", words: []string{"sha256:"}},
		{name: "file path", wasm: cgiGuest(t), f: &orlav1.Function{Files: []*orlav1.File{{Path: "/../a", Digest: b.store.Put(t, nil)}}}, field: "files[/../a]", words: []string{"clean path"}},
		{name: "file twice", wasm: cgiGuest(t), f: &orlav1.Function{Files: []*orlav1.File{{Path: "/a", Digest: b.store.Put(t, nil)}, {Path: "/a", Digest: b.store.Put(t, nil)}}}, field: "files[/a]", words: []string{"twice"}},
		{name: "file as folder", wasm: cgiGuest(t), f: &orlav1.Function{Files: []*orlav1.File{{Path: "/a", Digest: b.store.Put(t, nil)}, {Path: "/a/b", Digest: b.store.Put(t, nil)}}}, field: "files[/a/b]", words: []string{"folder"}},
	} {
		f := c.f
		if f == nil {
			f = &orlav1.Function{}
		}
		_, err := b.tryLoad(t, c.wasm, f)
		var fault *runtime.FunctionError
		if !errors.As(err, &fault) || fault.Function != "fn" || fault.Field != cmp.Or(c.field, "module") {
			t.Errorf("%s: %v, want a FunctionError of fn's %s", c.name, err, cmp.Or(c.field, "module"))
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(fault.Problem, w) {
				t.Errorf("%s: %q does not say %q", c.name, fault.Problem, w)
			}
		}
	}
}

func TestLoadRefusesLargeModule(t *testing.T) {
	b := newBench(t, runtime.Config{})
	large := make([]byte, runtime.MaxModule+1)
	copy(large, magic)
	if _, err := b.Inspect(t.Context(), large); err == nil || !strings.Contains(err.Error(), "strip it") {
		t.Errorf("Inspect of %d bytes: %v", len(large), err)
	}
	if _, err := b.tryLoad(t, large, &orlav1.Function{}); err == nil || !strings.Contains(err.Error(), "strip it") {
		t.Errorf("Load of %d bytes: %v", len(large), err)
	}
}

func TestLoadReportsInitialisation(t *testing.T) {
	b := newBench(t, runtime.Config{})
	wasm := guests.C(t, "internal/guests/c/badinit.c", "-mexec-model=reactor")
	for how, words := range map[string]string{"trap": "it printed: giving up", "exit": "exits with code 3", "loop": "timeout", "ask": "while it initialises"} {
		_, err := b.tryLoad(t, wasm, &orlav1.Function{Env: map[string]string{"HOW": how}, Timeout: durationpb.New(200 * time.Millisecond)})
		var fault *runtime.FunctionError
		if !errors.As(err, &fault) || !strings.Contains(fault.Problem, words) {
			t.Errorf("%s: %v, want a FunctionError with %q", how, err, words)
		}
	}
	if _, err := b.tryLoad(t, wasm, &orlav1.Function{}); err != nil {
		t.Errorf("an initialisation that succeeds: %v", err)
	}
}

// blobs counts reads.
type blobs struct {
	runtime.Blobs
	mu    sync.Mutex
	reads int
}

func (b *blobs) Read(d modules.Digest, most int64) ([]byte, error) {
	b.mu.Lock()
	b.reads++
	b.mu.Unlock()
	return b.Blobs.Read(d, most)
}

func (b *blobs) Open(d modules.Digest) (*os.File, error) { return b.Blobs.Open(d) }

func TestCodeIsSharedWhileSomebodyHoldsIt(t *testing.T) {
	store := guests.NewStore(t)
	counting := &blobs{Blobs: store}
	e, err := runtime.New(t.Context(), runtime.Config{Blobs: counting})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.WithoutCancel(t.Context()))
	f := &orlav1.Function{Name: "fn", Module: store.Put(t, cgiGuest(t))}
	var programs [8]*runtime.Program
	var wg sync.WaitGroup
	for i := range programs {
		wg.Go(func() {
			p, err := e.Load(t.Context(), "app", f)
			if err != nil {
				t.Error(err)
			}
			programs[i] = p
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if counting.reads != 1 {
		t.Errorf("8 programs of one module read it %d times, want once", counting.reads)
	}
	for _, p := range programs[1:] {
		if err := errors.Join(p.Close(t.Context()), p.Close(t.Context())); err != nil { // idempotent
			t.Error(err)
		}
	}
	url, _ := serve(t, programs[0].Handler("/*", ""))
	if got := get(t, url+"/count"); got.body != "1\n" {
		t.Errorf("the last one answers %q", got.body)
	}
	if err := programs[0].Close(t.Context()); err != nil {
		t.Error(err)
	}
	p, err := e.Load(t.Context(), "app", f)
	if err != nil || counting.reads != 2 {
		t.Errorf("after all were closed: %v, %d reads, want 2", err, counting.reads)
	}
	if err == nil {
		p.Close(t.Context())
	}
}

func TestLoadAfterClose(t *testing.T) {
	store := guests.NewStore(t)
	e, err := runtime.New(t.Context(), runtime.Config{Blobs: store})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Load(t.Context(), "app", &orlav1.Function{Name: "fn", Module: store.Put(t, cgiGuest(t))}); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("Load after Close: %v, want ErrClosed", err)
	}
}

func TestInspect(t *testing.T) {
	b := newBench(t, runtime.Config{})
	info, err := b.Inspect(t.Context(), handlerGuest(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.ABI != orlav1.Abi_ABI_HTTP_WASM || info.Digest != modules.Sum(handlerGuest(t)) || info.Size != len(handlerGuest(t)) ||
		info.Memory < 1<<16 || info.Init <= 0 || info.Module == nil || !info.Module.ImportsFrom("http_handler") {
		t.Errorf("Inspect of a handler: %+v", info)
	}
	bad := module{imports: [][2]string{{"env", "f"}}, exports: []string{"_start"}, pages: 1}.bytes()
	info, err = b.Inspect(t.Context(), bad)
	var fault *runtime.FunctionError
	if !errors.As(err, &fault) || info.Module == nil || info.Size != len(bad) {
		t.Errorf("Inspect of a module that cannot run: %+v, %v, want what it declares and a FunctionError", info, err)
	}
	if !bytes.Equal(bad, module{imports: [][2]string{{"env", "f"}}, exports: []string{"_start"}, pages: 1}.bytes()) {
		t.Error("Inspect changed the module")
	}
}
