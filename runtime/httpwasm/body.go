package httpwasm

import (
	"bytes"
	"errors"
	"io"

	"github.com/orla-edge/orla/runtime/host"
)

// requestBody is the request's body as the guest reads, keeps and replaces it.
type requestBody struct {
	x *host.Exchange
	// kept is what the guest has read while buffer_request was on.
	kept []byte
	// replaced is what the guest has written in place of the body; nil means nothing.
	replaced []byte
}

// read reads into p, which is the guest's memory.
func (b *requestBody) read(p []byte, keep bool) (n int, eof bool) {
	n, err := b.x.Read(p)
	if keep {
		if len(b.kept)+n > MaxBuffer {
			trap(ErrBuffer)
		}
		b.kept = append(b.kept, p[:n]...)
	}
	switch {
	case errors.Is(err, io.EOF):
		return n, true
	case err != nil:
		trap(err)
	}
	return n, false
}

func (b *requestBody) write(p []byte) {
	if len(b.replaced)+len(p) > MaxBuffer {
		trap(ErrBuffer)
	}
	if b.replaced == nil {
		b.replaced = make([]byte, 0, len(p))
	}
	b.replaced = append(b.replaced, p...)
}

// handOn returns the body for the next handler.
func (b *requestBody) handOn() io.ReadCloser {
	switch {
	case b.replaced != nil:
		return io.NopCloser(bytes.NewReader(b.replaced))
	case b.kept != nil:
		return io.NopCloser(io.MultiReader(bytes.NewReader(b.kept), b.x))
	}
	return io.NopCloser(b.x)
}
