package httpwasm

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/orla-edge/orla/runtime/host"
)

// guest is what the host functions work on: a call and the memory of its guest.
type guest struct {
	*Call
	mem memory
}

// needRequest ends a guest that asks for the request while it initialises.
func (g *guest) needRequest() {
	if g.phase == initialising {
		fault("it asks for a request while it initialises")
	}
}

func (g *guest) enableFeatures(a []uint64) uint64 {
	g.features |= Feature(a[0]) & allFeatures
	if g.Gone != nil && g.Gone() {
		return uint64(allFeatures | ClientGone)
	}
	return uint64(allFeatures)
}

func (g *guest) getConfig(a []uint64) uint64 { return g.mem.put(a[0], a[1], g.Config) }

// level turns -1, 0, 1, 2 into debug, info, warn, error; 3 and above mean none.
func level(a uint64) (l slog.Level, ok bool) {
	switch int32(a) {
	case 0:
		return slog.LevelInfo, true
	case 1:
		return slog.LevelWarn, true
	case 2:
		return slog.LevelError, true
	}
	return slog.LevelDebug, int32(a) < 0
}

func (g *guest) log(a []uint64) uint64 {
	text := g.mem.string(a[1], min(a[2], host.MaxLine+1))
	if l, ok := level(a[0]); ok && g.Log != nil {
		g.Log.Line(l, "log", text)
	}
	return 0
}

func (g *guest) logEnabled(a []uint64) uint64 {
	if l, ok := level(a[0]); ok && g.Log != nil && g.Log.Enabled(l) {
		return 1
	}
	return 0
}

func (g *guest) getMethod(a []uint64) uint64 {
	g.needRequest()
	return g.mem.put(a[0], a[1], g.request.Method)
}

func (g *guest) setMethod(a []uint64) uint64 {
	method := g.mem.string(a[0], a[1])
	if !httpguts.ValidHeaderFieldName(method) { // both are tokens (RFC 9110, 5.6.2)
		fault("%q is no method", method[:min(len(method), 80)])
	}
	g.change().Method = method
	return 0
}

func (g *guest) getURI(a []uint64) uint64 {
	g.needRequest()
	return g.mem.put(a[0], a[1], g.request.URL.RequestURI())
}

func (g *guest) setURI(a []uint64) uint64 {
	uri := g.mem.string(a[0], a[1])
	if uri == "" {
		uri = "/"
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
		fault("%q is no path with a query", uri[:min(len(uri), 80)])
	}
	r := g.change()
	r.URL, r.RequestURI = u, uri
	return 0
}

// change returns the request as a copy of its own, to be changed for the next handler.
func (g *guest) change() *http.Request {
	g.needRequest()
	if g.phase == inResponse {
		fault("it changes the request when that has been answered")
	}
	if g.request == g.Exchange.Request {
		g.request = g.request.Clone(g.request.Context())
	}
	return g.request
}

func (g *guest) getProtocolVersion(a []uint64) uint64 {
	g.needRequest()
	return g.mem.put(a[0], a[1], g.request.Proto)
}

func (g *guest) getSourceAddr(a []uint64) uint64 {
	g.needRequest()
	return g.mem.put(a[0], a[1], g.request.RemoteAddr)
}

func (g *guest) readBody(a []uint64) uint64 {
	g.needRequest()
	if a[2] == 0 {
		fault("read_body into no buffer")
	}
	p := g.mem.view(a[1], a[2])
	n, eof := 0, true
	switch a[0] {
	case bodyRequest:
		n, eof = g.body.read(p, g.features&BufferRequest != 0)
	case bodyResponse:
		if held := g.answer.held; held != nil {
			n = copy(p, held.Bytes()[g.answer.at:])
			g.answer.at += n
			eof = g.answer.at == held.Len()
		}
	default:
		fault("body kind %d", a[0])
	}
	if eof {
		return 1<<32 | uint64(n)
	}
	return uint64(n)
}

const (
	bodyRequest  = 0
	bodyResponse = 1
)

func (g *guest) writeBody(a []uint64) uint64 {
	g.needRequest()
	p := g.mem.view(a[1], a[2])
	switch {
	case a[0] == bodyRequest && g.phase == inRequest:
		g.change()
		g.body.write(p)
	case a[0] == bodyResponse && len(p) == 0 && g.answer.held == nil:
		if err := g.answer.start(); err != nil {
			trap(err)
		}
		g.Exchange.Flush()
	case a[0] == bodyResponse:
		g.overwrite()
		if _, err := g.answer.write(p); err != nil {
			trap(err)
		}
	default:
		fault("write_body of kind %d", a[0])
	}
	return 0
}

// overwrite discards the next handler's body when the guest begins one of its own.
func (g *guest) overwrite() {
	an := &g.answer
	if g.phase != inResponse || an.overwritten {
		return
	}
	if an.held == nil {
		fault("it writes a response that has been sent; enable buffer_response")
	}
	an.overwritten = true
	an.held.Reset()
	an.at = 0
}

func (g *guest) getStatusCode([]uint64) uint64 {
	g.needRequest()
	return uint64(g.answer.status)
}

func (g *guest) setStatusCode(a []uint64) uint64 {
	if a[0] < 200 || a[0] > 599 {
		fault("status %d is not one of 200 to 599", a[0])
	}
	g.needUnsent()
	g.answer.status = int(a[0])
	return 0
}

// needUnsent ends a guest that changes a response whose head has been sent.
func (g *guest) needUnsent() {
	g.needRequest()
	if g.answer.begun() {
		fault("it changes the head of a response that has been sent (in %s, enable buffer_response)", HandleResponse)
	}
}

// header returns the fields of a kind, and for a kind that the guest may change now
// where a change goes.
func (g *guest) header(kind uint64) http.Header {
	g.needRequest()
	switch kind {
	case 0:
		return g.request.Header
	case 1:
		return g.answer.header
	case 2:
		if g.features&Trailers != 0 {
			return g.request.Trailer
		}
	case 3:
		return g.answer.trailers
	default:
		fault("header kind %d", kind)
	}
	return nil
}

func (g *guest) changeHeader(kind uint64) http.Header {
	switch kind {
	case 0:
		return g.change().Header
	case 1:
		g.needUnsent()
		return g.answer.header
	}
	g.needRequest()
	if g.features&Trailers == 0 {
		fault("it sets a trailer without having enabled trailers")
	}
	if kind == 2 {
		r := g.change()
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		return r.Trailer
	}
	if kind != 3 {
		fault("header kind %d", kind)
	}
	if g.answer.trailers == nil {
		g.answer.trailers = make(http.Header)
	}
	return g.answer.trailers
}

func (g *guest) getHeaderNames(a []uint64) uint64 {
	h := g.header(a[0])
	names := make([]string, 0, len(h)+1)
	for name := range h {
		if a[0] != 0 || !host.Hidden(name) {
			names = append(names, strings.ToLower(name))
		}
	}
	if a[0] == 0 && g.request.Host != "" && h["Host"] == nil {
		names = append(names, "host") // Go keeps it apart
	}
	slices.Sort(names)
	return g.mem.putAll(a[1], a[2], names)
}

func (g *guest) getHeaderValues(a []uint64) uint64 {
	h := g.header(a[0])
	name := http.CanonicalHeaderKey(g.mem.string(a[1], a[2]))
	values := h[name]
	switch {
	case a[0] != 0:
	case name == "Host" && values == nil && g.request.Host != "":
		values = []string{g.request.Host}
	case host.Hidden(name):
		values = nil
	}
	return g.mem.putAll(a[3], a[4], values)
}

// field reads name and value at a[1:5], as a header field that exists.
func (g *guest) field(a []uint64) (name, value string) {
	name, value = g.mem.string(a[1], a[2]), g.mem.string(a[3], a[4])
	if err := host.CheckField(name, value); err != nil {
		fault("%v", err)
	}
	if g.answer.size += len(name) + len(value) + 4; g.answer.size > host.MaxHeader {
		fault("it sets header fields of more than %d bytes", host.MaxHeader)
	}
	return http.CanonicalHeaderKey(name), value
}

func (g *guest) setHeaderValue(a []uint64) uint64 {
	name, value := g.field(a)
	if h := g.changeHeader(a[0]); a[0] == 0 && name == "Host" {
		g.request.Host = value
	} else {
		h[name] = []string{value}
	}
	return 0
}

func (g *guest) addHeaderValue(a []uint64) uint64 {
	name, value := g.field(a)
	h := g.changeHeader(a[0])
	h[name] = append(h[name], value)
	return 0
}

func (g *guest) removeHeader(a []uint64) uint64 {
	delete(g.changeHeader(a[0]), http.CanonicalHeaderKey(g.mem.string(a[1], a[2])))
	return 0
}
