package runtime

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/runtime/host"
)

// connection counts how often its reading side is cut.
type connection struct {
	*httptest.ResponseRecorder
	cut int
}

func (c *connection) SetReadDeadline(time.Time) error {
	c.cut++
	return nil
}

// TestRunStopsItsExchange: once, whenever the end comes, and not after the request, when
// a ResponseWriter is somebody else's.
func TestRunStopsItsExchange(t *testing.T) {
	over := errors.New("it is over")
	for _, c := range []struct {
		name string
		do   func(*run, *host.Exchange)
		want int
	}{
		{"it ends within the exchange", func(r *run, x *host.Exchange) { r.attach(x); r.end(over) }, 1},
		{"it has ended before", func(r *run, x *host.Exchange) { r.end(over); r.attach(x) }, 1},
		{"it ends after the exchange", func(r *run, x *host.Exchange) { r.attach(x); r.attach(nil); r.end(over) }, 0},
	} {
		w := &connection{ResponseRecorder: httptest.NewRecorder()}
		x := host.NewExchange(w, httptest.NewRequest("POST", "/", strings.NewReader("body")))
		ctx, cancel := context.WithCancelCause(t.Context())
		r := &run{Context: ctx, cancel: cancel}
		c.do(r, x)
		if w.cut != c.want || !errors.Is(context.Cause(r), over) {
			t.Errorf("%s: the connection is cut %d times, want %d; the run ended with %v", c.name, w.cut, c.want, context.Cause(r))
		}
		x.Close()
	}
}
