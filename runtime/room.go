package runtime

import (
	"context"
	"errors"

	"github.com/orla-edge/orla/runtime/memory"
)

// room is what one app's instances may take of the node.
type room struct {
	memory, instances *memory.Share
	programs          int // guarded by Engine.mu
}

func newRoom(bytes, pieces *memory.Budget) *room {
	return &room{memory: memory.NewShare(bytes), instances: memory.NewShare(pieces)}
}

// enter notes a program of an app; leave forgets it.
func (e *Engine) enter(app string) *room {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.rooms[app]
	if r == nil {
		r = newRoom(&e.budget, &e.instances)
		e.rooms[app] = r
	}
	r.programs++
	return r
}

func (e *Engine) leave(p *Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.programs, p)
	if p.room == nil || p.closed {
		return
	}
	if p.room.programs--; p.room.programs == 0 {
		delete(e.rooms, p.app)
	}
}

// reclaim frees instances that nobody uses: the app's own, or those of all apps if it
// has none. It reports whether there were any.
func (e *Engine) reclaim(ctx context.Context, app string) bool {
	before := e.instances.Used()
	for _, own := range []bool{true, false} {
		for _, p := range e.all() {
			if l := p.now.Load(); (p.app == app) == own && l != nil && l.hold() {
				e.report(ctx, errors.Join(l.shrink(ctx, forever), l.drop(ctx)))
			}
		}
		if e.instances.Used() < before {
			return true
		}
	}
	return false
}
