package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/orla-edge/orla/modules"
)

// errAbandoned ends a flight whose call was over before the transfer was: those
// that wait for it have to do it themselves.
var errAbandoned = errors.New("peer: transfer abandoned")

// flight is the transfer of one blob, which several calls may wait for.
type flight struct {
	want      want
	preferred []string
	done      chan struct{} // closed when the transfer is over
	err       error         // valid once done is closed
}

// flights are the transfers under way.
type flights struct {
	mu      sync.Mutex // guards running
	running map[modules.Digest]*flight
}

// waiter is a blob that another call is fetching.
type waiter struct {
	want   want
	flight *flight
}

// join begins a flight for each blob that has none. The caller ends those, whatever
// happens, and only then waits for the others.
func (f *flights) join(missing []want, preferred []string) (own []*flight, others []waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range missing {
		if running, ok := f.running[w.digest]; ok {
			others = append(others, waiter{w, running})
			continue
		}
		fl := &flight{want: w, preferred: preferred, done: make(chan struct{})}
		f.running[w.digest] = fl
		own = append(own, fl)
	}
	return own, others
}

// end ends a flight that is under way.
func (f *flights) end(fl *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endLocked(fl, err)
}

// abandon ends those flights that are still under way.
func (f *flights) abandon(all []*flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range all {
		if f.running[fl.want.digest] == fl {
			f.endLocked(fl, errAbandoned)
		}
	}
}

func (f *flights) endLocked(fl *flight, err error) {
	delete(f.running, fl.want.digest)
	fl.err = err
	close(fl.done)
}

// await waits for transfers of other calls. A failure of one that looked elsewhere
// or for something else says nothing: the next round tries again.
func (c call) await(ctx context.Context, others []waiter) error {
	for _, w := range others {
		select {
		case <-w.flight.done:
		case <-ctx.Done():
			return fmt.Errorf("fetch blob %s: %w", w.want.digest, context.Cause(ctx))
		}
		err := w.flight.err
		if err == nil {
			c.progress.add(1, max(w.want.size, 0))
			continue
		}
		if !errors.Is(err, errAbandoned) && w.want == w.flight.want && slices.Equal(c.preferred, w.flight.preferred) {
			return err
		}
	}
	return nil
}
