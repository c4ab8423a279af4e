package proxy

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// set is a set of indices into Proxy.targets.
type set uint64

func (s set) has(i int) bool { return s&(1<<i) != 0 }

func (s set) with(i int) set { return s | 1<<i }

// pick returns the index of the target to try next, and whether that is a probe
// of one that was ejected; -1 if there is none. tried are left out. With none
// tried yet, ejected ones are better than none at all.
func (p *Proxy) pick(tried set) (i int, probe bool) {
	now := time.Now()
	for i, t := range p.targets {
		if !tried.has(i) && !t.down.Load() && t.probe(now) {
			return i, true
		}
	}
	a := p.usable(rand.IntN(len(p.targets)), now, tried)
	if a < 0 {
		if tried != 0 {
			return -1, false
		}
		return p.leastEjected(), false
	}
	b := p.usable(rand.IntN(len(p.targets)), now, tried.with(a))
	if b >= 0 && p.targets[b].active.Load() < p.targets[a].active.Load() {
		return b, false
	}
	return a, false
}

// usable returns the first target from start on, in a circle, that is neither
// tried, down nor ejected; -1 if there is none.
func (p *Proxy) usable(start int, now time.Time, tried set) int {
	for k := range p.targets {
		i := (start + k) % len(p.targets)
		t := p.targets[i]
		if !tried.has(i) && !t.down.Load() && t.ejected.Load() <= now.UnixNano() {
			return i
		}
	}
	return -1
}

// leastEjected returns the target that would come back first, of those that are
// not down; -1 if all are.
func (p *Proxy) leastEjected() int {
	best := -1
	for i, t := range p.targets {
		if !t.down.Load() && (best < 0 || t.ejected.Load() < p.targets[best].ejected.Load()) {
			best = i
		}
	}
	return best
}

// Retries may be a fifth of the requests, and ten at once: enough for an upstream
// that restarts, too few to double the load on those that are left.
const (
	retryCost   = 5
	budgetLimit = 10 * retryCost
)

// budget is a bucket of tokens: a request puts one in, a retry takes five out.
type budget struct{ tokens atomic.Int64 }

func (b *budget) init() { b.tokens.Store(budgetLimit) }

func (b *budget) deposit() {
	if n := b.tokens.Load(); n < budgetLimit {
		b.tokens.CompareAndSwap(n, n+1) // a lost race loses a token: no matter
	}
}

// withdraw reports whether there is enough for a retry.
func (b *budget) withdraw() bool {
	for {
		n := b.tokens.Load()
		if n < retryCost {
			return false
		}
		if b.tokens.CompareAndSwap(n, n-retryCost) {
			return true
		}
	}
}
