package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// orderWorkers is how many orders go on at a time.
	orderWorkers = 4
	// orderLimit is the longest that an order may take.
	orderLimit = 4 * time.Minute
	// lookEvery is how often the leader looks for what is due, if nothing tells it to.
	lookEvery = 5 * time.Minute
	// staleChallenge is the age at which a challenge is nobody's any more.
	staleChallenge = time.Hour
	// keepExpired is for how long an expired certificate that nobody wants is kept.
	keepExpired = 7 * 24 * time.Hour
)

// orders gets certificates from ACME servers and renews them, while this node has the
// lease for it.
type orders struct {
	register  Register
	book      *book
	shelf     *shelf
	node      string
	log       *slog.Logger
	magic     *certmagic.Config
	issuers   []certmagic.Issuer
	budget    *budget
	wildcards bool // there is a way to have wildcards

	nudged chan struct{} // holds a token when there may be something to do

	ordered, failures atomic.Uint64 // orders by how they ended

	mu      sync.Mutex // guards what follows
	wanted  map[string]Host
	runs    map[string]*run // by subject
	leading bool
}

// run is an order that goes on, or that is to begin at once.
type run struct {
	started bool
	done    chan struct{} // closed at its end
	err     error         // then, why there is no certificate
}

// runLocked returns a subject's run, a new one if there is none.
func (o *orders) runLocked(subject string) *run {
	r := o.runs[subject]
	if r == nil {
		r = &run{done: make(chan struct{})}
		o.runs[subject] = r
	}
	return r
}

// endLocked ends a run.
func (o *orders) endLocked(subject string, err error) {
	r := o.runs[subject]
	delete(o.runs, subject)
	r.err = err
	close(r.done)
}

// look says that something may be due.
func (o *orders) look() {
	select {
	case o.nudged <- struct{}{}:
	default:
	}
}

// want says which subjects are to have certificates.
func (o *orders) want(hosts map[string]Host) {
	o.mu.Lock()
	o.wanted = hosts
	o.mu.Unlock()
	o.look()
}

// lead orders what is due until ctx ends, with the orders that go on.
func (o *orders) lead(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	o.begin()
	defer o.end()
	workers.Go(func() { o.followCA(ctx) })
	o.clean(ctx)
	places := make(chan struct{}, orderWorkers)
	for {
		o.refuseWildcards(ctx)
		next := o.start(ctx, places, &workers)
		timer := time.NewTimer(min(time.Until(next), lookEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-o.nudged:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// leads reports whether this node orders for all.
func (o *orders) leads() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.leading
}

func (o *orders) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leading = true
}

// end turns away who waits for orders that have not begun.
func (o *orders) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leading = false
	for subject, r := range o.runs {
		if !r.started {
			o.endLocked(subject, ErrNotLeading)
		}
	}
}

// start begins the orders that are due, as far as there are places, and returns when to
// look again. An order that ends looks, too.
func (o *orders) start(ctx context.Context, places chan struct{}, workers *sync.WaitGroup) (next time.Time) {
	due, next := o.due(time.Now())
	for _, subject := range due {
		select {
		case places <- struct{}{}:
		default:
			return next
		}
		o.mu.Lock()
		o.runLocked(subject).started = true
		o.mu.Unlock()
		workers.Go(func() {
			err := o.order(ctx, subject)
			o.mu.Lock()
			o.endLocked(subject, err)
			o.mu.Unlock()
			<-places
			o.look()
		})
	}
	return next
}

// due returns the subjects that are to be ordered now, those that have least time first,
// and when the next ones are.
func (o *orders) due(now time.Time) (subjects []string, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next = now.Add(lookEvery)
	ends := map[string]time.Time{}
	for subject, host := range o.wanted {
		r := o.runs[subject]
		at, end, ok := o.dueAt(subject, host, now)
		if r != nil && !r.started {
			at, ok = now, true
		}
		switch {
		case !ok || r != nil && r.started:
		case at.After(now):
			if at.Before(next) {
				next = at
			}
		default:
			subjects = append(subjects, subject)
			ends[subject] = end
		}
	}
	slices.SortFunc(subjects, func(a, b string) int { return ends[a].Compare(ends[b]) })
	return subjects, next
}

// dueAt returns when a subject is to be ordered, and when its certificate ends;
// false: not at all.
func (o *orders) dueAt(subject string, host Host, now time.Time) (at, end time.Time, ok bool) {
	own := o.book.cert(subject)
	if h := o.book.covering(subject, now); h != nil && h != own && h.GetSource() == orlav1.CertRecord_SOURCE_IMPORTED && now.Before(h.GetNotAfter().AsTime()) {
		return at, end, false // a wildcard of the user's own
	}
	switch {
	case strings.HasPrefix(subject, "*.") && !o.wildcards:
		return at, end, false
	case own == nil:
		if host.OnDemand {
			return at, end, false // asked for by a handshake
		}
		at = now
	case own.GetSource() == orlav1.CertRecord_SOURCE_IMPORTED:
		return at, end, false
	default:
		at, end = own.GetRenewAt().AsTime(), own.GetNotAfter().AsTime()
		if o.issuerOf(own) == nil {
			at = now // from a CA that is not asked any more: a staging one, mostly
		}
	}
	if failed := o.book.failure(subject); failed != nil && failed.GetNext().AsTime().After(at) {
		at = failed.GetNext().AsTime()
	}
	return at, end, true
}

// order gets a certificate, and writes down how it went.
func (o *orders) order(ctx context.Context, subject string) error {
	started := time.Now()
	err := o.obtain(ctx, subject)
	if ctx.Err() != nil {
		return ctx.Err() // the lease is gone: another goes on
	}
	h := o.book.cert(subject)
	if h.imported() {
		return nil // imported while it was ordered
	}
	if err != nil {
		o.failures.Add(1)
		return o.failed(ctx, subject, err)
	}
	o.ordered.Add(1)
	o.log.Info("certificate obtained", "host", subject, "issuer", h.GetIssuer(), "until", h.GetNotAfter().AsTime(), "took", time.Since(started).Round(time.Millisecond).String())
	key := subjectKey(orderPrefix, subject)
	if e := o.book.entry(key); e.Value != nil {
		if err := o.register.Commit(ctx, key, nil, e.Revision); err != nil {
			o.log.Warn("failed order not forgotten", "host", subject, "error", err)
		}
	}
	return nil
}

func (o *orders) obtain(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	if old := o.book.cert(subject); old != nil && old.GetSource() == orlav1.CertRecord_SOURCE_ACME {
		return o.magic.RenewCertSync(context.WithValue(ctx, replacing{}, old), subject, true)
	}
	return o.magic.ObtainCertSync(ctx, subject)
}

// failed writes down that an order failed, and when it is tried again. It returns what a
// person is told of it.
func (o *orders) failed(ctx context.Context, subject string, err error) error {
	now, key := time.Now(), subjectKey(orderPrefix, subject)
	attempts := o.book.failure(subject).GetAttempts() + 1
	next := now.Add(patience(err, attempts))
	text := advice(subject, err)
	o.log.Error("certificate not obtained", "host", subject, "error", text, "attempt", attempts, "next", next)
	value, merr := proto.Marshal(&orlav1.CertOrder{
		Subject: subject, Error: text, Attempts: attempts, Last: timestamppb.New(now), Next: timestamppb.New(next), Node: o.node,
	})
	if merr == nil {
		merr = o.register.Commit(ctx, key, value, o.book.entry(key).Revision)
	}
	if merr != nil && ctx.Err() == nil {
		o.log.Warn("failed order not written down", "host", subject, "error", merr)
	}
	return errors.New(text)
}

// needsDNS is why a wildcard is not ordered.
const needsDNS = "a wildcard's certificate takes DNS-01: start the hubs with --acme-dns, name the hosts, or import one with `orla certs import`"

// refuseWildcards writes down, for all nodes, that wildcards get no certificate if there is
// no way to order them (RFC 8555 §7.1.3 leaves that to the CA, and all ask for DNS-01), and
// takes it back if there is one.
func (o *orders) refuseWildcards(ctx context.Context) {
	for _, subject := range o.subjects() {
		if !strings.HasPrefix(subject, "*.") || o.book.cert(subject) != nil {
			continue
		}
		said := o.book.failure(subject)
		if refused := said != nil && said.GetAttempts() == 0; refused != o.wildcards {
			continue
		}
		key, value, err := subjectKey(orderPrefix, subject), []byte(nil), error(nil)
		if !o.wildcards {
			value, err = proto.Marshal(&orlav1.CertOrder{Subject: subject, Error: needsDNS, Last: timestamppb.Now(), Node: o.node})
		}
		if err == nil {
			err = o.register.Commit(ctx, key, value, o.book.entry(key).Revision)
		}
		if err != nil && ctx.Err() == nil {
			o.log.Debug("not written down whether a wildcard gets a certificate", "host", subject, "error", err)
		}
	}
}

// failure returns what the register says of a subject's last order, nil if it did not
// fail.
func (b *book) failure(subject string) *orlav1.CertOrder {
	e := b.entry(subjectKey(orderPrefix, subject))
	if e.Value == nil {
		return nil
	}
	failed := new(orlav1.CertOrder)
	if proto.Unmarshal(e.Value, failed) != nil {
		return nil
	}
	return failed
}

// clean removes what others have left: challenges of orders that were given up, and
// certificates that have long expired and that nobody wants.
func (o *orders) clean(ctx context.Context) {
	now := time.Now()
	for _, e := range o.book.entries(challengePrefix) {
		if _, created, err := decodeChallenge(e.Value); err == nil && now.Sub(created) < staleChallenge {
			continue
		}
		if err := o.register.Commit(ctx, e.Key, nil, e.Revision); err != nil {
			o.log.Debug("old challenge not removed", "key", e.Key, "error", err)
		}
	}
	o.book.certs.Range(func(subject, value any) bool {
		h, name := value.(*held), subject.(string) //nolint:forcetypeassert // it holds no others
		o.mu.Lock()
		_, wanted := o.wanted[name]
		o.mu.Unlock()
		if wanted || h.GetSource() != orlav1.CertRecord_SOURCE_ACME || now.Sub(h.GetNotAfter().AsTime()) < keepExpired {
			return ctx.Err() == nil
		}
		if err := o.register.Commit(ctx, subjectKey(certPrefix, name), nil, h.revision); err != nil {
			o.log.Debug("expired certificate not removed", "host", name, "error", err)
		}
		return ctx.Err() == nil
	})
}

const (
	// askCAEvery is how often a CA is asked when it wants a certificate renewed, if it
	// does not say how often.
	askCAEvery = 6 * time.Hour
	// askCALook is how often it is looked for certificates to ask about.
	askCALook = 10 * time.Minute
)

// followCA keeps renewal times in line with what the CAs say (RFC 9773), until ctx ends.
func (o *orders) followCA(ctx context.Context) {
	asked := map[string]time.Time{} // when to ask again, by subject
	pace := rate.NewLimiter(10, 10)
	tick := time.NewTicker(askCALook)
	defer tick.Stop()
	for {
		for _, subject := range o.subjects() {
			h := o.book.cert(subject)
			if h == nil || h.GetSource() != orlav1.CertRecord_SOURCE_ACME || time.Now().Before(asked[subject]) {
				continue
			}
			if pace.Wait(ctx) != nil {
				return
			}
			asked[subject] = o.askCA(ctx, h)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (o *orders) subjects() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]string, 0, len(o.wanted))
	for subject := range o.wanted {
		out = append(out, subject)
	}
	return out
}

// issuerOf returns whom a certificate comes from, nil if that CA is not asked any more.
func (o *orders) issuerOf(h *held) certmagic.Issuer {
	for _, iss := range o.issuers {
		if certmagic.StorageKeys.Safe(iss.IssuerKey()) == h.GetDirectory() {
			return iss
		}
	}
	return nil
}

// askCA asks a certificate's CA about it, and returns when to ask again.
func (o *orders) askCA(ctx context.Context, h *held) time.Time {
	again := time.Now().Add(askCAEvery)
	iss, ok := o.issuerOf(h).(*acmeIssuer)
	if !ok {
		return again
	}
	leaf, err := x509.ParseCertificate(h.GetChain()[0])
	if err != nil {
		return again
	}
	info, err := iss.renewal(ctx, leaf)
	switch {
	case errors.Is(err, acme.ErrUnsupported):
		return time.Now().Add(24 * time.Hour)
	case err != nil:
		o.log.Debug("CA not asked for the renewal time", "host", h.GetSubject(), "error", err)
		return time.Now().Add(askCALook)
	}
	if info.RetryAfter != nil && info.RetryAfter.After(time.Now().Add(time.Minute)) {
		again = *info.RetryAfter
	}
	window, at := info.SuggestedWindow, h.GetRenewAt().AsTime()
	if window.Start.IsZero() || !at.Before(window.Start) && !at.After(window.End) || info.SelectedTime.IsZero() {
		return again
	}
	o.reschedule(ctx, h, info.SelectedTime)
	return again
}

// reschedule writes down another time for a renewal.
func (o *orders) reschedule(ctx context.Context, h *held, at time.Time) {
	record := proto.CloneOf(h.CertRecord)
	record.RenewAt = timestamppb.New(at)
	value, err := proto.Marshal(record)
	if err == nil {
		err = o.register.Commit(ctx, subjectKey(certPrefix, h.GetSubject()), value, h.revision)
	}
	if err != nil {
		o.log.Warn("renewal time not written down", "host", h.GetSubject(), "error", err)
		return
	}
	o.log.Info("renewal time moved by the CA", "host", h.GetSubject(), "renewal", at)
	o.look()
}
