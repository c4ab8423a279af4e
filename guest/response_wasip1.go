package guest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// bufferSize is how much of an answer waits for more: a whole small answer, which then
// gets its Content-Length and one call of the host.
const bufferSize = 4096

// response is the [http.ResponseWriter] of the one request of this instance.
type response struct {
	ctx     *requestContext
	header  http.Header
	head    bool        // the request is a HEAD
	status  int         // 0 until WriteHeader
	snap    http.Header // the header as it was at WriteHeader
	sent    bool        // the head is with the host
	buf     []byte
	written int64
}

var (
	_ http.Flusher = (*response)(nil)
	_ interface {
		WriteString(string) (int, error)
		FlushError() error
	} = (*response)(nil)
)

func newResponse(ctx *requestContext) *response {
	return &response{ctx: ctx, header: make(http.Header, 8), snap: make(http.Header, 8), buf: make([]byte, 0, bufferSize)}
}

// reset forgets what was not sent.
func (w *response) reset() {
	*w = response{ctx: w.ctx, header: make(http.Header), snap: make(http.Header), head: w.head, buf: w.buf[:0]}
}

// Header implements [http.ResponseWriter].
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter]. Informational statuses are ignored.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	for name, values := range w.header {
		w.snap[name] = cut(values...)
	}
}

// Write implements [http.ResponseWriter].
func (w *response) Write(p []byte) (int, error) {
	w.begin(p)
	if n := w.declared(); n >= 0 && w.written+int64(len(p)) > n {
		return 0, http.ErrContentLength
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	w.ctx.passing()
	w.written += int64(len(p))
	if len(w.buf)+len(p) <= bufferSize {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	w.send()
	if len(p) >= bufferSize {
		hostWrite(kindResponse, ptr(p), uint32(len(p)))
	} else {
		w.buf = append(w.buf, p...)
	}
	return len(p), nil
}

// WriteString implements [io.StringWriter].
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// begin makes up the head for the first bytes of the body, as net/http does.
func (w *response) begin(p []byte) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent && w.written == 0 && len(p) > 0 && first(w.snap["Content-Encoding"]) == "" {
		if _, typed := w.snap["Content-Type"]; !typed {
			w.snap["Content-Type"] = cut(http.DetectContentType(p))
		}
	}
}

// declared returns the Content-Length that the handler has set, or -1.
func (w *response) declared() int64 {
	if v := first(w.snap["Content-Length"]); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	return -1
}

// first returns the first of values, as [http.Header.Get] does of a canonical key.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Flush implements [http.Flusher].
func (w *response) Flush() {
	w.begin(nil)
	w.send()
	w.ctx.passing()
	hostWrite(kindResponse, nil, 0) // Orla sends at once what it holds; other hosts ignore it
}

// FlushError is what [http.ResponseController] calls.
func (w *response) FlushError() error {
	w.Flush()
	return nil
}

// send hands head and buffer to the host.
func (w *response) send() {
	if !w.sent {
		w.sent = true
		for name, values := range w.snap {
			if strings.HasPrefix(name, http.TrailerPrefix) || name == "Trailer" {
				continue
			}
			for _, v := range values {
				addHeader(kindResponse, name, clean(v))
			}
		}
		hostStatus(uint32(w.status))
	}
	if len(w.buf) > 0 {
		hostWrite(kindResponse, ptr(w.buf), uint32(len(w.buf)))
		w.buf = w.buf[:0]
	}
}

// finish ends the answer.
func (w *response) finish() {
	w.begin(nil)
	w.measure()
	w.send()
	w.trailers()
}

// measure sets the Content-Length of an answer that is all in the buffer, where
// net/http would.
func (w *response) measure() {
	switch {
	case w.sent, w.status == http.StatusNoContent, w.status == http.StatusNotModified,
		w.head && len(w.buf) == 0, len(w.snap["Content-Length"])+len(w.snap["Trailer"]) > 0:
		return
	}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return
		}
	}
	w.snap["Content-Length"] = cut(strconv.Itoa(len(w.buf)))
}

// trailers sends the fields that the header announced as "Trailer", and those that were
// set with [http.TrailerPrefix].
func (w *response) trailers() {
	var announced []string
	if names := w.snap["Trailer"]; len(names) > 0 {
		announced = strings.Split(strings.Join(names, ","), ",")
	}
	for i, name := range announced {
		announced[i] = http.CanonicalHeaderKey(strings.TrimSpace(name))
	}
	enabled := false
	for key, values := range w.header {
		name, prefixed := strings.CutPrefix(key, http.TrailerPrefix)
		if !prefixed && !slices.Contains(announced, key) {
			continue
		}
		if !enabled && hostEnableFeatures(featureTrailers)&featureTrailers == 0 {
			return // the host has no trailers
		}
		enabled = true
		for _, v := range values {
			addHeader(kindResponseTrailers, name, clean(v))
		}
	}
}

// clean replaces line ends, as net/http does.
func clean(v string) string {
	if !strings.ContainsAny(v, "\r\n") {
		return v
	}
	return strings.NewReplacer("\n", " ", "\r", " ").Replace(v)
}
