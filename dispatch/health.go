package dispatch

import (
	"cmp"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/orla-edge/orla/telemetry"
)

// counts is what has become of a release's requests.
type counts struct {
	requests      atomic.Uint64
	serverErrors  atomic.Uint64
	guestFailures atomic.Uint64
}

// visit is a request inside a release.
type visit struct {
	release *Release
	r       *http.Request
	info    *telemetry.Request
	whole   bool // the handler has returned
}

// end counts the request, and counts it out of the release. It is deferred.
func (v *visit) end() {
	c := &v.release.counts
	c.requests.Add(1)
	// A handler that panics has failed, unless all that has happened is that the
	// client went away.
	if v.info.Status >= http.StatusInternalServerError || !v.whole && v.r.Context().Err() == nil {
		c.serverErrors.Add(1)
	}
	if v.info.GuestFailed {
		c.guestFailures.Add(1)
	}
	v.release.leave()
}

// ReleaseHealth counts what a release has made of its requests on this node since
// it first became live, on trial or for good.
type ReleaseHealth struct {
	Number uint64
	// Requests that are over, whatever became of them.
	Requests uint64
	// ServerErrors are the answers of 500 and above, and those that the node has
	// cut short.
	ServerErrors uint64
	// GuestFailures are the requests in which a function failed: a trap, a limit,
	// or an answer that is no HTTP response. Most of them are ServerErrors too.
	GuestFailures uint64
}

// Health returns the counters of the releases that are live under name, and of
// those that a trial has put aside, in the order of their numbers; nil if there
// are none. The counters of one release may be apart by the requests that end
// meanwhile.
func (d *Dispatcher) Health(name string) []ReleaseHealth {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names[name]
	if t == nil {
		return nil
	}
	var out []ReleaseHealth
	for _, s := range slices.Concat(t.group, t.before) {
		c := &s.Release.counts
		out = append(out, ReleaseHealth{
			Number: s.Release.Number, Requests: c.requests.Load(),
			ServerErrors: c.serverErrors.Load(), GuestFailures: c.guestFailures.Load(),
		})
	}
	slices.SortFunc(out, func(a, b ReleaseHealth) int { return cmp.Compare(a.Number, b.Number) })
	return out
}
