package dispatch

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/orla-edge/orla/router"
)

// tenancy is what answers under one name.
type tenancy struct {
	group  Group
	trial  bool  // group is on trial
	before Group // what the trial has replaced and may return; nil if nothing was live
}

// Swap makes a new version of the table: each group in put replaces the one of the
// same name, those named in remove go, all at once. The dispatcher owns the groups'
// releases from here on, and what a trial of the same name has put aside goes with
// the trial. A group that claims a host of another name is refused and given up,
// with what was live under its name; one that is no group is refused, and what was
// live stays. The error names each; the others are swapped all the same.
func (d *Dispatcher) Swap(revision uint64, put []Group, remove []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.changeLocked()
	c.revision = revision
	var refused []string
	refuse := func(g Group, why error) {
		refused = append(refused, fmt.Sprintf("%s: %v", g.Name(), why))
		c.retired = append(c.retired, g)
	}
	for _, name := range remove {
		c.drop(name)
	}
	fit := make([]Group, 0, len(put))
	for _, g := range put {
		g = g.sorted()
		if err := g.check(); err != nil {
			refuse(g, err)
			continue
		}
		c.drop(g.Name())
		fit = append(fit, g)
	}
	for _, g := range fit {
		if err := c.put(g); err != nil {
			refuse(g, err)
		}
	}
	c.publish()
	if refused != nil {
		slices.Sort(refused)
		return fmt.Errorf("dispatch: swap refused: %q", refused)
	}
	return nil
}

// change is the next version of the table in the making. Who uses it holds d.mu.
type change struct {
	d        *Dispatcher
	revision uint64
	hosts    router.Hosts[*host]
	retired  []Group
}

func (d *Dispatcher) changeLocked() *change {
	t := d.table.Load()
	return &change{d: d, revision: t.revision, hosts: t.hosts}
}

// publish makes the change what new requests see, and gives up what it has
// retired.
func (c *change) publish() {
	c.d.table.Store(&table{revision: c.revision, hosts: c.hosts})
	for _, g := range c.retired {
		g.leave()
	}
}

// put makes g answer under its name, where nothing does.
func (c *change) put(g Group) error {
	for pattern := range g[0].Release.hosts {
		owner := c.owner(pattern)
		if t := c.d.names[owner]; t != nil && t.trial {
			c.revert(owner, t) // a host that was claimed for good is not a trial's
			owner = c.owner(pattern)
		}
		if owner != "" {
			return fmt.Errorf("host %q belongs to %s", pattern, owner)
		}
	}
	c.hang(g)
	c.d.names[g.Name()] = &tenancy{group: g}
	return nil
}

// drop takes what is live under name off the table, with what a trial has put
// aside.
func (c *change) drop(name string) {
	t := c.d.names[name]
	if t == nil {
		return
	}
	c.unhang(t.group)
	c.retired = append(c.retired, t.group, t.before)
	delete(c.d.names, name)
}

// hang puts g under its hosts, except those that another name has.
func (c *change) hang(g Group) {
	clients := g.clientCAs()
	for pattern := range g[0].Release.hosts {
		if c.owner(pattern) == "" {
			c.hosts = c.hosts.With(pattern, g.host(pattern, clients))
		}
	}
}

// unhang takes g off its hosts.
func (c *change) unhang(g Group) {
	for pattern := range g[0].Release.hosts {
		if c.owner(pattern) == g.Name() {
			c.hosts = c.hosts.Without(pattern)
		}
	}
}

// owner returns the name that has a host pattern; "" if none does.
func (c *change) owner(pattern string) string {
	h, ok := c.hosts.Get(pattern)
	if !ok {
		return ""
	}
	return h.owner()
}

// Serving describes what answers under name, in the order of the releases'
// numbers, and reports whether it is on trial; nil if nothing does.
func (d *Dispatcher) Serving(name string) (parts []Part, trial bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names[name]
	if t == nil {
		return nil, false
	}
	return t.group.parts(), t.trial
}

// Keep returns a release that is live under name, or that a trial has put aside,
// for the caller to own; nil if there is none with that number. Pass it to
// [Dispatcher.Swap], [Dispatcher.Try] or [Dispatcher.Discard] as if it had been
// built.
func (d *Dispatcher) Keep(name string, number uint64) *Release {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names[name]
	if t == nil {
		return nil
	}
	for _, s := range slices.Concat(t.group, t.before) {
		if s.Release.Number == number && s.Release.enter() {
			return s.Release
		}
	}
	return nil
}

// Live returns the releases now served, ordered by name and number.
func (d *Dispatcher) Live() []*Release {
	d.mu.Lock()
	live := make([]*Release, 0, len(d.names))
	for _, t := range d.names {
		for _, s := range t.group {
			live = append(live, s.Release)
		}
	}
	d.mu.Unlock() // a hundred thousand take longer to sort than a change may wait
	slices.SortFunc(live, func(a, b *Release) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
	})
	return live
}

// Get returns the live release of name, of several the one with the largest
// share; nil if there is none.
func (d *Dispatcher) Get(name string) *Release {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.names[name]
	if t == nil {
		return nil
	}
	return t.group[t.group.main()].Release
}
