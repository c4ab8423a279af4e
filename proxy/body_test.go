package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// slowReader gives a byte after each pause.
type slowReader struct {
	pause time.Duration
	left  int
}

func (r *slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause)
	if r.left == 0 {
		return 0, io.EOF
	}
	r.left--
	p[0] = 'x'
	return 1, nil
}

func TestTimeoutCountsTheUpstreamsTimeOnly(t *testing.T) {
	const limit = 30 * time.Second
	for _, tt := range []struct {
		name           string
		client, before time.Duration // pauses: of the client, of the upstream before each read
		after          time.Duration // from the body's end to the head
		want           error
	}{
		{name: "quick"},
		{name: "slow client", client: 10 * limit},
		{name: "slow upstream, within the limit each time", before: limit - 1},
		{name: "upstream stops reading", before: limit + 1, want: errHeadTimeout},
		{name: "no head", after: limit + 1, want: errHeadTimeout},
		{name: "no head after a slow client", client: 10 * limit, after: limit + 1, want: errHeadTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				timer := &headTimer{limit: limit}
				timer.start(cancel)
				b := &clientBody{src: &slowReader{tt.client, 3}, timer: timer}
				for err := error(nil); err == nil; {
					time.Sleep(tt.before)
					_, err = b.Read(make([]byte, 10))
				}
				time.Sleep(tt.after)
				timer.stop()
				time.Sleep(10 * limit)
				if got := context.Cause(ctx); !errors.Is(got, tt.want) {
					t.Errorf("cause = %v, want %v", got, tt.want)
				}
				if !b.drained() || b.failure() != nil {
					t.Errorf("drained %v, failure %v", b.drained(), b.failure())
				}
			})
		})
	}
}

func TestFinishedBodyIsNotRead(t *testing.T) {
	timer := &headTimer{limit: time.Hour}
	timer.start(func(error) {})
	defer timer.stop()
	b := &clientBody{
		src:   &slowReader{left: 1},
		rc:    http.NewResponseController(httptest.NewRecorder()),
		timer: timer,
	}
	b.finish()
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errBodyClosed) {
		t.Errorf("Read = %d, %v; want %v", n, err, errBodyClosed)
	}
}
