package peer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orla-edge/orla/modules/peer"
)

// roundTrip is a transport without a network, so that time in a test need not pass.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// busyFor answers like the handler, but for so many times that it is busy.
func busyFor(times int, h *counted) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if times--; times >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else {
			h.ServeHTTP(w, r)
		}
		return w.Result(), nil
	})}
}

func TestBusyPeerIsAskedAgain(t *testing.T) {
	contents, blobs := small(20)
	src, _ := store(t)
	for _, c := range contents {
		src.Put(c)
	}
	tests := []struct {
		name           string
		times          int
		blobs          []peer.Blob
		batches, alone int64
		took           time.Duration
		ok             bool
	}{
		{"one blob", 3, blobs[:1], 0, 1, 3 * time.Second, true},
		{"many blobs", 3, blobs, 1, 0, 3 * time.Second, true},
		{"for ever", 1 << 30, blobs[:1], 0, 0, 16 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := store(t)
			h := &counted{Handler: peer.NewHandler(src, peer.Limits{})}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := peer.New(peer.Config{
					Blobs: dir, Client: busyFor(tt.times, h), Peers: func() []string { return []string{"https://busy.example"} },
				})
				err := f.Ensure(t.Context(), tt.blobs)
				if tt.ok && err != nil || !tt.ok && (!errors.Is(err, peer.ErrUnavailable) || !strings.Contains(err.Error(), "is busy")) {
					t.Errorf("Ensure = %v", err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
			if h.batches.Load() != tt.batches || h.alone.Load() != tt.alone {
				t.Errorf("%d batches and %d single requests were served, want %d and %d", h.batches.Load(), h.alone.Load(), tt.batches, tt.alone)
			}
		})
	}
}
