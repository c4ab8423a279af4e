package certs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Bounds of what handshakes can make a cluster order.
const (
	// maxWishes is how many handshakes of a node may wait for a certificate.
	maxWishes = 100
	// wishLimit is the longest that one waits.
	wishLimit = 30 * time.Second
	// refusedFor is how long a node remembers that a host could not have one.
	refusedFor = time.Minute
	// maxRefused is how many such hosts it remembers.
	maxRefused = 10_000

	// budgetPerMinute is how many orders handshakes cause in the cluster, and
	// domainPerMinute for the names of one registered domain.
	budgetPerMinute = 20
	domainPerMinute = 5
	maxDomains      = 10_000
)

var (
	// ErrNotWanted means that a host is not one whose certificate a handshake can order.
	ErrNotWanted = errors.New("certs: no certificate on demand for this host")
	// ErrNotLeading means that another node orders certificates.
	ErrNotLeading = errors.New("certs: another node orders certificates")
	// errPending: a certificate is ordered when routes bring the host, and is not there yet.
	errPending = errors.New("it is not there yet")
	errCrowded = errors.New("too many handshakes wait for certificates")
)

// wishes are the handshakes of this node that wait for a certificate to be ordered.
type wishes struct {
	places chan struct{}
	flight *singleflight.Group

	mu      *sync.Mutex // guards refused
	refused map[string]refusal
}

// refusal is why a host could not have a certificate, and until when nobody asks again.
type refusal struct {
	err   error
	until time.Time
}

func newWishes() wishes {
	return wishes{places: make(chan struct{}, maxWishes), flight: new(singleflight.Group), mu: new(sync.Mutex), refused: map[string]refusal{}}
}

func (w *wishes) remembered(host string, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r, ok := w.refused[host]; ok && now.Before(r.until) {
		return r.err
	}
	return nil
}

func (w *wishes) remember(host string, err error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.refused) >= maxRefused {
		clear(w.refused)
	}
	w.refused[host] = refusal{err, now.Add(refusedFor)}
}

// demand has the certificate of a host ordered that a handshake asks for, if the host is
// one of those for which handshakes may.
func (m *Manager) demand(ctx context.Context, host string) error {
	if m.cfg.OnDemand == nil || !m.cfg.OnDemand(host) {
		return errPending
	}
	if err := m.wishes.remembered(host, time.Now()); err != nil {
		return err
	}
	select {
	case m.wishes.places <- struct{}{}:
		defer func() { <-m.wishes.places }()
	default:
		return errCrowded
	}
	ctx, cancel := context.WithTimeout(ctx, wishLimit)
	defer cancel()
	done := m.wishes.flight.DoChan(host, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wishLimit)
		defer cancel()
		err := m.Order(ctx, host)
		if errors.Is(err, ErrNotLeading) && m.cfg.Ask != nil {
			before, failed := digestOf(m.book.cert(host)), m.book.failure(host)
			if err = m.cfg.Ask(ctx, host, false); err == nil && m.book.covering(host, time.Now()) == nil {
				err = m.awaitOrder(ctx, host, before, failed)
			}
		}
		if err == nil {
			return nil, nil
		}
		m.wishes.remember(host, err, time.Now())
		m.log.Warn("certificate on demand refused", "host", host, "error", err)
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitOrder waits until a host's certificate is another than it was, or its last order
// has failed: those who order may be other nodes.
func (m *Manager) awaitOrder(ctx context.Context, host string, before [sha256.Size]byte, failed *orlav1.CertOrder) error {
	for {
		changed := m.book.next()
		if h := m.book.cert(host); h != nil && digestOf(h) != before {
			return nil
		}
		if now := m.book.failure(host); now != nil && !proto.Equal(now, failed) {
			return failure(now)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the certificate of %s: %w", host, ctx.Err())
		}
	}
}

// failure is the error of an order that has failed.
func failure(o *orlav1.CertOrder) error {
	return fmt.Errorf("%s; it is tried again at %s", o.GetError(), o.GetNext().AsTime().UTC().Format(time.RFC3339))
}

// wishWait is how long an order may take before who asked for it is told that it is under
// way.
const wishWait = 2 * time.Second

// Wish does what [Config.Ask] of another node is for: it orders a host's certificate as
// [Manager.Order] does, or with renew a new one whatever there is, and returns when that
// is there, or under way. [ErrNotLeading]: it is not on this node to answer.
func (m *Manager) Wish(ctx context.Context, host string, renew bool) error {
	if err := checkSubject(host); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wishWait)
	defer cancel()
	order := m.Order
	if renew {
		order = m.renewHere
	}
	err := order(ctx, host)
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Order orders the certificate of a host that a handshake asks for, if this node leads
// and there is none, and returns when it is there. It returns [ErrNotLeading],
// [ErrNotWanted], or why there is none.
func (m *Manager) Order(ctx context.Context, host string) error {
	o := m.orders
	if o == nil {
		return ErrNotLeading
	}
	now := time.Now()
	if h := m.book.cert(host); h != nil && now.Before(h.GetNotAfter().AsTime()) {
		return nil
	}
	if failed := m.book.failure(host); failed != nil && now.Before(failed.GetNext().AsTime()) {
		return fmt.Errorf("%s; the next try is at %s", failed.GetError(), failed.GetNext().AsTime().Format(time.TimeOnly))
	}
	return o.orderNow(ctx, host, func(want Host, known bool) error {
		if !known || !want.OnDemand {
			return ErrNotWanted
		}
		return o.budget.take(host, now)
	})
}

// Renew has a new certificate ordered for a host whatever there is, if it is served, and
// returns when this node has it. It returns [ErrNotWanted], [ErrNotLeading] if nobody
// orders, or why there is none.
func (m *Manager) Renew(ctx context.Context, host string) error {
	subject := normal(host)
	if err := checkSubject(subject); err != nil {
		return err
	}
	h := m.book.cert(subject)
	switch {
	case h.imported():
		return fmt.Errorf("%w: %s has an imported certificate, which no CA is asked to renew: import a new one with `orla certs import %s`, or remove it with `orla certs remove %s`", ErrNotWanted, subject, subject, subject)
	case m.internal(subject):
		return fmt.Errorf("%w: the internal CA renews the certificate of %s by itself", ErrNotWanted, subject)
	case m.notOrdered(subject) != "":
		return fmt.Errorf("%w: %s: %s", ErrNotWanted, subject, m.notOrdered(subject))
	}
	before, failed := digestOf(h), m.book.failure(subject)
	err := m.renewHere(ctx, subject)
	if errors.Is(err, ErrNotLeading) && m.cfg.Ask != nil {
		if err = m.cfg.Ask(ctx, subject, true); err == nil {
			err = m.awaitOrder(ctx, subject, before, failed)
		}
	}
	return err
}

// renewHere does it if this node leads; else it returns ErrNotLeading.
func (m *Manager) renewHere(ctx context.Context, subject string) error {
	if m.orders == nil {
		return ErrNotLeading
	}
	if strings.HasPrefix(subject, "*.") && !m.orders.wildcards {
		return errors.New(needsDNS)
	}
	return m.orders.orderNow(ctx, subject, func(_ Host, known bool) error {
		if !known {
			return ErrNotWanted
		}
		return m.orders.budget.take(subject, time.Now()) // who asks may be another node
	})
}

// orderNow has a subject ordered at once, if allowed says so, and waits for it.
func (o *orders) orderNow(ctx context.Context, subject string, allowed func(Host, bool) error) error {
	o.mu.Lock()
	if !o.leading {
		o.mu.Unlock()
		return ErrNotLeading
	}
	if o.runs[subject] == nil {
		want, known := o.wanted[subject]
		if err := allowed(want, known); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	r := o.runLocked(subject)
	o.mu.Unlock()
	o.look()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the order: %w", ctx.Err())
	}
}

// budget bounds the orders that handshakes cause, and those that people ask for.
type budget struct {
	all *rate.Limiter

	mu      sync.Mutex // guards domains
	domains map[string]*rate.Limiter
}

func newBudget() *budget {
	return &budget{all: rate.NewLimiter(perMinute(budgetPerMinute), budgetPerMinute), domains: map[string]*rate.Limiter{}}
}

func perMinute(n int) rate.Limit { return rate.Every(time.Minute / time.Duration(n)) }

// take takes one order for a host, or says which bound it would break.
func (b *budget) take(host string, now time.Time) error {
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		domain = host
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.domains) >= maxDomains {
		clear(b.domains)
	}
	own := b.domains[domain]
	if own == nil {
		own = rate.NewLimiter(perMinute(domainPerMinute), domainPerMinute)
		b.domains[domain] = own
	}
	if !own.AllowN(now, 1) {
		return fmt.Errorf("certs: the %d orders a minute for names of %s are used up", domainPerMinute, domain)
	}
	if !b.all.AllowN(now, 1) {
		return fmt.Errorf("certs: the %d orders a minute are used up", budgetPerMinute)
	}
	return nil
}
