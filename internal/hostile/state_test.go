package hostile

import (
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// state is one thing of an instance that a request can change.
type state struct {
	name string
	// seen is code that leaves an i32 that is not 0, or traps, where a request before has
	// run mark.
	seen, mark []byte
	// global is a variable that the module has; nil for none.
	global []byte
	// lost tells that an instance that is marked is not used again; fresh, that none is.
	lost, fresh bool
}

// What the modules import, and what they define behind that.
const (
	setStatus = iota
	getMethod
	readBody
	fdClose
	fdRenumber
	fdStat
	pathOpen
	fdReaddir
	entry
	other
)

// room is an address in a page that nothing else writes to, far the first in a new page.
const (
	room = 3*65536 + 4096
	far  = 4 * 65536
)

func states() []state {
	global := func(typ byte, zero ...byte) []byte { return cat([]byte{typ, 1}, zero, op(0x0b)) }
	load, store := cat(i32(room), op(0x28, 2, 0)), cat(i32(room), i32(1), op(0x36, 2, 0))
	three := func(a, b, c int64, o ...byte) []byte { return cat(i32(a), i32(b), i32(c), op(o...)) }
	second := cat(i32(1), op(0x25, 0, 0xd1, 0x45)) // table.get, ref.is_null, i32.eqz
	function := op(0xd2, other)
	list := []state{
		{name: "a store", seen: load, mark: store},
		{name: "memory.fill", seen: load, mark: three(room, 7, 100, 0xfc, 11, 0)},
		{name: "memory.fill of many pages", seen: load, mark: three(65536, 7, 3*65536, 0xfc, 11, 0)},
		{name: "memory.copy", seen: load, mark: cat(i32(8), i32(-1), op(0x36, 2, 0), three(room, 8, 4, 0xfc, 10, 0, 0))},
		{name: "memory.init", seen: load, mark: three(room, 0, 4, 0xfc, 8, 0, 0)},
		{name: "what the host writes", seen: load, mark: cat(i32(room), i32(100), call(getMethod), op(0x1a))},
		{name: "a body", seen: load, mark: cat(three(0, room, 100, 0x10, readBody), op(0x1a))},
		{name: "memory.grow", seen: cat(op(0x3f, 0), i32(4), op(0x47)), mark: cat(i32(1), op(0x40, 0, 0x1a))},
		{
			name: "a store in memory that grew", seen: cat(i32(1), op(0x40, 0, 0x1a), i32(far), op(0x28, 2, 0)),
			mark: cat(i32(far), i32(1), op(0x36, 2, 0)),
		},
		{name: "table.set", lost: true, seen: second, mark: cat(i32(1), function, op(0x26, 0))},
		{name: "table.fill", lost: true, seen: second, mark: cat(i32(1), function, i32(1), op(0xfc, 17, 0))},
		{name: "table.copy", lost: true, seen: second, mark: three(1, 0, 1, 0xfc, 14, 0, 0)},
		{name: "table.init", lost: true, seen: second, mark: three(1, 0, 1, 0xfc, 12, 0, 0)},
		{name: "table.grow", lost: true, seen: cat(op(0xfc, 16, 0), i32(2), op(0x47)), mark: cat(op(0xd0, 0x70), i32(1), op(0xfc, 15, 0, 0x1a))},
		{name: "elem.drop", lost: true, seen: cat(three(0, 0, 1, 0xfc, 12, 0, 0), i32(0)), mark: op(0xfc, 13, 0)},
		{name: "data.drop", lost: true, seen: cat(three(room, 0, 1, 0xfc, 8, 0, 0), i32(0)), mark: op(0xfc, 9, 0)},
		{name: "an i32", global: global(0x7f, 0x41, 0), seen: op(0x23, 0), mark: cat(i32(1), op(0x24, 0))},
		{name: "an i64", global: global(0x7e, 0x42, 0), seen: op(0x23, 0, 0x50, 0x45), mark: op(0x42, 1, 0x24, 0)},
		{name: "an f32", global: global(0x7d, 0x43, 0, 0, 0, 0), seen: op(0x23, 0, 0xbc), mark: op(0x43, 0, 0, 0x80, 0x7f, 0x24, 0)},
		{
			name: "an f64", global: global(0x7c, 0x44, 0, 0, 0, 0, 0, 0, 0, 0), seen: op(0x23, 0, 0xbd, 0x50, 0x45),
			mark: op(0x44, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0x24, 0),
		},
		{
			name: "a v128", global: global(0x7b, cat(op(0xfd, 12), make([]byte, 16))...), seen: op(0x23, 0, 0xfd, 0x53), // v128.any_true
			mark: cat(op(0xfd, 12), make([]byte, 15), op(1, 0x24, 0)), fresh: true, lost: true,
		},
		{
			name: "a funcref", global: global(0x70, 0xd0, 0x70), seen: op(0x23, 0, 0xd1, 0x45),
			mark: cat(function, op(0x24, 0)), fresh: true, lost: true,
		},
	}
	return append(list, files()...)
}

// files are the states of what the system interface keeps.
func files() []state {
	stat := func(fd int64) []byte { return cat(i32(fd), i32(64), call(fdStat)) }
	open := cat(i32(3), i32(0), i32(16), i32(9), i32(0), op(0x42, 2, 0x42, 2), i32(0), i32(128), call(pathOpen), op(0x1a))
	return []state{
		{name: "a stream that is closed", lost: true, seen: stat(1), mark: cat(i32(1), call(fdClose), op(0x1a))},
		{name: "a folder that is closed", lost: true, seen: stat(3), mark: cat(i32(3), call(fdClose), op(0x1a))},
		{name: "a file with another number", lost: true, seen: cat(stat(9), op(0x45)), mark: cat(open, i32(4), i32(9), call(fdRenumber), op(0x1a))},
		{name: "a file that is left open", lost: true, seen: cat(stat(4), op(0x45)), mark: open},
		{
			name: "a place in a folder", lost: true,
			seen: cat(i32(3), i32(1024), i32(100), op(0x42, 1), i32(64), call(fdReaddir), op(0x45)),
			mark: cat(i32(3), i32(1024), i32(100), op(0x42, 0), i32(64), call(fdReaddir), op(0x1a)),
		},
	}
}

// module returns a handler that answers 200, or 201 if it sees s, and then marks it.
func (s state) module() []byte {
	const v32, v64 = 0x7f, 0x7e
	typ := func(params, results []byte) []byte {
		return cat(op(0x60), vec(bytesOf(params)...), vec(bytesOf(results)...))
	}
	types := [][]byte{
		typ(nil, op(v64)), typ(nil, nil), typ(op(v32), nil), typ(op(v32, v32), op(v32)), typ(op(v32, v32, v32), op(v64)), typ(op(v32), op(v32)),
		typ(op(v32, v32, v32, v32, v32, v64, v64, v32, v32), op(v32)), typ(op(v32, v32, v32, v64, v32), op(v32)),
	}
	host := func(module, name string, typ byte) []byte { return cat(str(module), str(name), op(0, typ)) }
	const http, wasi = "http_handler", "wasi_snapshot_preview1"
	imports := [][]byte{
		host(http, "set_status_code", 2), host(http, "get_method", 3), host(http, "read_body", 4), host(wasi, "fd_close", 5), host(wasi, "fd_renumber", 3),
		host(wasi, "fd_fdstat_get", 3), host(wasi, "path_open", 6), host(wasi, "fd_readdir", 7),
	}
	body := cat(op(0), i32(200), s.seen, i32(0), op(0x47, 0x6a), call(setStatus), s.mark, op(0x42, 0, 0x0b))
	funcs := [][]byte{cat(u(len(body)), body), op(2, 0, 0x0b)}
	var globals [][]byte
	if s.global != nil {
		globals = append(globals, s.global)
	}
	exports := [][]byte{cat(str("handle_request"), op(0, entry)), cat(str("memory"), op(2, 0))}
	elements := [][]byte{op(1, 0, 1, other), op(0, 0x41, 0, 0x0b, 1, other)} // passive, and the table's first
	data := [][]byte{cat(op(1), str("data")), cat(op(0, 0x41, 16, 0x0b), str("hello.txt"))}
	return cat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, types...), section(2, imports...), section(3, op(0), op(1)), section(4, op(0x70, 1, 2, 10)), section(5, op(0, 4)),
		section(6, globals...), section(7, exports...), section(9, elements...), cat(op(12, 1), u(len(data))), section(10, funcs...), section(11, data...))
}

// TestState shows, for each thing that a request can change, that the next request does
// not see it; and that the test would see it.
func TestState(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	root := []*orlav1.File{{Path: "/hello.txt", Digest: b.store.Put(t, []byte("hello")), Size: 5}}
	for _, s := range states() {
		t.Run(s.name, func(t *testing.T) {
			control := b.load(t, "app", s.module(), &orlav1.Function{Isolation: pooled, Files: root})
			got := answers(control.Handler("/*", ""), 2)
			if leaks := got[1] != http.StatusOK; got[0] != http.StatusOK || leaks == s.fresh {
				t.Errorf("where instances are pooled: answers %d, want 200 and, unless they are never used again, another", got)
			}
			p := b.load(t, "app", s.module(), &orlav1.Function{Files: root})
			if got, want := answers(p.Handler("/*", ""), 30), slices.Repeat([]int{http.StatusOK}, 30); !slices.Equal(got, want) {
				t.Errorf("answers %d, want 200 only", got)
			}
			if n := p.Stats().Idle; n > 1 || s.lost != (n == 0) {
				t.Errorf("afterwards %d instances are kept", n)
			}
		})
	}
}

// answers returns the status codes of n requests.
func answers(h http.Handler, n int) (codes []int) {
	for range n {
		codes = append(codes, ask(h, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("a body"))).status)
	}
	return codes
}

func op(b ...byte) []byte        { return b }
func call(f byte) []byte         { return op(0x10, f) }
func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }
func u(n int) []byte             { return binary.AppendUvarint(nil, uint64(n)) }
func str(s string) []byte        { return cat(u(len(s)), []byte(s)) }
func vec(items ...[]byte) []byte { return cat(u(len(items)), cat(items...)) }
func bytesOf(b []byte) (v [][]byte) {
	for i := range b {
		v = append(v, b[i:i+1])
	}
	return v
}

// section is nothing if there is nothing in it.
func section(id byte, items ...[]byte) []byte {
	if len(items) == 0 {
		return nil
	}
	content := vec(items...)
	return cat(op(id), u(len(content)), content)
}

// i32 is the instruction i32.const.
func i32(v int64) []byte {
	out := op(0x41)
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
