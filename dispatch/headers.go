package dispatch

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// changes are a route's header changes, with canonical names.
type changes struct {
	remove   []string
	set, add []field
}

type field struct{ name, value string }

// newChanges returns nil if there is nothing to change.
func newChanges(spec *orlav1.HeaderChanges) *changes {
	if len(spec.GetRemove())+len(spec.GetSet())+len(spec.GetAdd()) == 0 {
		return nil
	}
	c := &changes{set: fields(spec.GetSet()), add: fields(spec.GetAdd())}
	for _, name := range spec.GetRemove() {
		c.remove = append(c.remove, http.CanonicalHeaderKey(name))
	}
	return c
}

func fields(specs []*orlav1.Field) []field {
	out := make([]field, len(specs))
	for i, f := range specs {
		out[i] = field{http.CanonicalHeaderKey(f.GetName()), f.GetValue()}
	}
	return out
}

// apply removes, then sets, then adds.
func (c *changes) apply(h http.Header) {
	for _, name := range c.remove {
		delete(h, name)
	}
	for _, f := range c.set {
		h[f.name] = []string{f.value}
	}
	for _, f := range c.add {
		// A new slice: the old one may be shared by every response of a site.
		h[f.name] = append(slices.Clip(h[f.name]), f.value)
	}
}

// headerWriter changes a response's headers when its head is written.
type headerWriter struct {
	http.ResponseWriter
	changes *changes
	done    bool
}

var (
	_ io.ReaderFrom = (*headerWriter)(nil)
	_ http.Flusher  = (*headerWriter)(nil)
	_ http.Hijacker = (*headerWriter)(nil)
)

func (w *headerWriter) finish() {
	if !w.done {
		w.done = true
		w.changes.apply(w.Header())
	}
}

// WriteHeader implements http.ResponseWriter. Informational heads pass as they
// are.
func (w *headerWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.finish()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *headerWriter) Write(b []byte) (int, error) {
	w.finish()
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the server's sendfile within reach.
func (w *headerWriter) ReadFrom(src io.Reader) (int64, error) {
	w.finish()
	return io.Copy(w.ResponseWriter, src)
}

// Flush implements http.Flusher.
func (w *headerWriter) Flush() {
	w.finish()
	_ = http.NewResponseController(w.ResponseWriter).Flush() // what cannot flush need not
}

// Hijack implements http.Hijacker: what takes a connection over writes the head by
// itself.
func (w *headerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.finish()
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
