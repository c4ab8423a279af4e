package guest

import "unsafe"

// The functions of the host (https://http-wasm.io/http-handler-abi/).

//go:wasmimport http_handler enable_features
func hostEnableFeatures(features uint32) uint32

//go:wasmimport http_handler log
func hostLog(level int32, message unsafe.Pointer, size uint32)

//go:wasmimport http_handler log_enabled
func hostLogEnabled(level int32) uint32

//go:wasmimport http_handler get_method
func hostMethod(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_uri
func hostURI(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_protocol_version
func hostProtocol(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_source_addr
func hostSource(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_header_names
func hostHeaderNames(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler get_header_values
func hostHeaderValues(kind uint32, name unsafe.Pointer, nameSize uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler add_header_value
func hostAddHeader(kind uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32)

//go:wasmimport http_handler read_body
func hostRead(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler write_body
func hostWrite(kind uint32, body unsafe.Pointer, size uint32)

//go:wasmimport http_handler set_status_code
func hostStatus(code uint32)

const (
	kindRequest          = 0
	kindResponse         = 1
	kindRequestTrailers  = 2
	kindResponseTrailers = 3

	featureTrailers = 4
	// clientHasGone is no feature: Orla sets it once the client has gone, and other hosts
	// never do.
	clientHasGone = 1 << 31
)

// clientGone asks the host whether the client has gone.
func clientGone() bool { return hostEnableFeatures(0)&clientHasGone != 0 }

func ptr(b []byte) unsafe.Pointer    { return unsafe.Pointer(unsafe.SliceData(b)) }
func strPtr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// arena is where the host writes strings, which stay there; slab is where lists of them
// are cut from. What is full is left to those who hold its strings. A guest has one
// thread.
var (
	arena = make([]byte, 0, 4096)
	slab  = make([]string, 0, 64)
)

// room returns n bytes or more at the end of the arena.
func room(n int) []byte {
	if cap(arena)-len(arena) < n {
		arena = make([]byte, 0, max(n, 4096))
	}
	return arena[len(arena):cap(arena)]
}

// keep returns the first n bytes of what room has returned as a string.
func keep(n int) string {
	from := len(arena)
	arena = arena[:from+n]
	return unsafe.String(unsafe.SliceData(arena[from:]), n)
}

// text returns a field that the host writes into a buffer. The host says how long it
// is; if that is more than there was room for, it has written nothing.
func text(get func(unsafe.Pointer, uint32) uint32) string {
	for buf := room(256); ; {
		n := int(get(ptr(buf), uint32(len(buf))))
		if n <= len(buf) {
			return keep(n)
		}
		buf = room(n)
	}
}

// list returns strings that the host writes into a buffer, each with a NUL after it.
func list(get func(unsafe.Pointer, uint32) uint64) []string {
	for buf := room(512); ; {
		r := get(ptr(buf), uint32(len(buf)))
		count, size := int(r>>32), int(uint32(r))
		if size > len(buf) {
			buf = room(size)
			continue
		}
		from := reserve(count)
		slab = appendNUL(slab, keep(size), count)
		return slab[from:len(slab):len(slab)]
	}
}

// reserve makes room for n strings in the slab, and returns where they begin.
func reserve(n int) int {
	if cap(slab)-len(slab) < n {
		slab = make([]string, 0, max(n, 64))
	}
	return len(slab)
}

// cut returns a copy of list that is part of the slab.
func cut(list ...string) []string {
	from := reserve(len(list))
	slab = append(slab, list...)
	return slab[from:len(slab):len(slab)]
}

func headerNames(kind uint32) []string {
	return list(func(p unsafe.Pointer, n uint32) uint64 { return hostHeaderNames(kind, p, n) })
}

func headerValues(kind uint32, name string) []string {
	return list(func(p unsafe.Pointer, n uint32) uint64 {
		return hostHeaderValues(kind, strPtr(name), uint32(len(name)), p, n)
	})
}

func addHeader(kind uint32, name, value string) {
	hostAddHeader(kind, strPtr(name), uint32(len(name)), strPtr(value), uint32(len(value)))
}
