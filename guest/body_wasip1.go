package guest

import (
	"errors"
	"io"
	"net/http"
)

// body is the request's body, read from the host as the handler asks.
type body struct {
	request *http.Request
	ctx     *requestContext
	eof     bool
	closed  bool
}

var errClosed = errors.New("guest: read of a closed request body")

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, errClosed
	case b.eof:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	b.ctx.passing()
	r := hostRead(kindRequest, ptr(p), uint32(len(p)))
	n := int(uint32(r))
	if r>>32 == 0 {
		return n, nil
	}
	b.eof = true
	b.trailers()
	return n, io.EOF
}

// Close implements [io.Closer].
func (b *body) Close() error {
	b.closed = true
	return nil
}

// trailers takes over the request's trailers, which come after the body.
func (b *body) trailers() {
	if hostEnableFeatures(featureTrailers)&featureTrailers == 0 {
		return
	}
	for _, name := range headerNames(kindRequestTrailers) {
		if b.request.Trailer == nil {
			b.request.Trailer = make(http.Header)
		}
		b.request.Trailer[http.CanonicalHeaderKey(name)] = headerValues(kindRequestTrailers, name)
	}
}
