package dispatch

import (
	"errors"
	"fmt"
)

// ErrTrial is returned by Try for a name with a trial.
var ErrTrial = errors.New("dispatch: another release of the same name is on trial")

// Try makes r answer under its name on this node alone, and keeps what was live
// there as it is, built and ready. revert ends the trial: what was live is back at
// once, and r is given up. It may be called more than once, also when the trial is
// over. A trial also ends with a [Dispatcher.Swap] of its name, which may be handed
// the tried release, or the one put aside, by [Dispatcher.Keep]; and with a Swap
// that gives one of its hosts to another name.
//
// The dispatcher owns r from here on, also if it returns an error: [ErrTrial], or
// that r claims a host of another name. Nothing has changed then.
func (d *Dispatcher) Try(r *Release) (revert func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, t := r.Name, &tenancy{group: Alone(r), trial: true}
	c := d.changeLocked()
	if old := d.names[name]; old != nil {
		if old.trial {
			r.leave()
			return nil, fmt.Errorf("try release %d of %s: %w", r.Number, name, ErrTrial)
		}
		t.before = old.group
		c.unhang(old.group)
	}
	for pattern := range r.hosts {
		if owner := c.owner(pattern); owner != "" {
			r.leave()
			return nil, fmt.Errorf("dispatch: try release %d of %s: host %q belongs to %s", r.Number, name, pattern, owner)
		}
	}
	c.hang(t.group)
	d.names[name] = t
	c.publish()
	return func() { d.revert(name, t) }, nil
}

func (d *Dispatcher) revert(name string, t *tenancy) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != t {
		return // the trial is over
	}
	c := d.changeLocked()
	c.revert(name, t)
	c.publish()
}

// revert puts back what the trial t of name has replaced.
func (c *change) revert(name string, t *tenancy) {
	c.unhang(t.group)
	c.retired = append(c.retired, t.group)
	if t.before == nil {
		delete(c.d.names, name)
		return
	}
	c.hang(t.before)
	c.d.names[name] = &tenancy{group: t.before}
}
