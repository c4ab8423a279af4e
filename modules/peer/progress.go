package peer

import "sync"

// Progress says how far a call is with what the store lacked when it began.
type Progress struct {
	Blobs, TotalBlobs int
	Bytes, TotalBytes int64
}

// Option is an optional argument of [Fetcher.Ensure].
type Option func(*tracker)

// OnProgress calls report whenever bytes or blobs have arrived. It may be called by
// several goroutines at once, and should return soon.
func OnProgress(report func(Progress)) Option {
	return func(t *tracker) { t.report = report }
}

// tracker adds up a call's progress.
type tracker struct {
	report func(Progress) // nil means that nobody asks

	mu  sync.Mutex // guards now
	now Progress
}

func newTracker(options []Option) *tracker {
	t := new(tracker)
	for _, o := range options {
		o(t)
	}
	return t
}

func (t *tracker) begin(missing []want) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.TotalBlobs = len(missing)
	for _, w := range missing {
		t.now.TotalBytes += max(w.size, 0)
	}
}

func (t *tracker) add(blobs int, bytes int64) {
	if t.report == nil {
		return
	}
	t.mu.Lock()
	t.now.Blobs += blobs
	t.now.Bytes += bytes
	now := t.now
	t.mu.Unlock()
	t.report(now)
}
