package runtime

import (
	"slices"
	"sync"
)

// queue shares the processors among the guests that compute for longer than a slice:
// so many at a time, that one processor is left for connections, and the others in
// turns, app by app, so that an app with many guests gets no more than one with few.
type queue struct {
	mu   sync.Mutex // guards all below
	free int
	// lines are the apps that wait, in the order of their turns.
	lines []*line
}

// line is the guests of one app that wait, in order of arrival.
type line struct {
	app    string
	guests []chan struct{}
}

func newQueue(places int) *queue { return &queue{free: places} }

// enter takes a place, which leave gives back. It reports false if done ends first.
func (q *queue) enter(app string, done <-chan struct{}) bool {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	q.joinLocked(app, turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-done:
	}
	if !q.quit(app, turn) { // its turn has come meanwhile
		q.leave()
	}
	return false
}

func (q *queue) joinLocked(app string, turn chan struct{}) {
	for _, l := range q.lines {
		if l.app == app {
			l.guests = append(l.guests, turn)
			return
		}
	}
	q.lines = append(q.lines, &line{app: app, guests: []chan struct{}{turn}})
}

// quit reports whether turn was still waiting.
func (q *queue) quit(app string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for at, l := range q.lines {
		if l.app != app {
			continue
		}
		n := slices.Index(l.guests, turn)
		if n < 0 {
			return false
		}
		if l.guests = slices.Delete(l.guests, n, n+1); len(l.guests) == 0 {
			q.lines = slices.Delete(q.lines, at, at+1)
		}
		return true
	}
	return false
}

// leave hands the place to the next app's next guest.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		q.free++
		return
	}
	l := q.lines[0]
	q.lines = slices.Delete(q.lines, 0, 1)
	close(l.guests[0])
	if l.guests = l.guests[1:]; len(l.guests) > 0 {
		q.lines = append(q.lines, l)
	}
}
