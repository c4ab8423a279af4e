package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// local issues certificates from the internal CA, in this node's memory only.
type local struct {
	cfg    Config
	log    *slog.Logger
	ca     *internalCA
	cache  *certmagic.Cache
	magic  *certmagic.Config
	store  *memory
	flight singleflight.Group // by subject
	budget *rate.Limiter      // of certificates on demand
	warned rate.Sometimes     // about the budget
	doubts chan struct{}      // holds a token when certificates may be of another CA

	mu    sync.RWMutex // guards names
	names map[string]*name
}

func newLocal(cfg Config, ca *internalCA) *local {
	l := &local{
		cfg: cfg, log: cfg.Logger, ca: ca, store: newMemory(), names: map[string]*name{},
		budget: rate.NewLimiter(rate.Limit(cfg.OnDemandRate), 10*cfg.OnDemandRate),
		warned: rate.Sometimes{Interval: time.Minute}, doubts: make(chan struct{}, 1),
	}
	logger := newZap(cfg.Logger)
	l.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return l.magic, nil },
		RenewCheckInterval: renewCheck,
		Logger:             logger,
	})
	// Certificates on demand are ours to decide: certmagic's way has queues that
	// all its instances in a process share.
	l.magic = certmagic.New(l.cache, certmagic.Config{
		RenewalWindowRatio:  1.0 / 3,
		Issuers:             []certmagic.Issuer{ca},
		KeySource:           certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		OCSP:                certmagic.OCSPConfig{DisableStapling: true},
		Storage:             l.store,
		DisableStorageCheck: true,
		DisableARI:          true,
		Logger:              logger,
	})
	return l
}

// renewCheck is how often certmagic looks for certificates to renew.
const renewCheck = 10 * time.Minute

// sweepEvery is how often certificates of hosts that are no longer served are
// thrown away.
const sweepEvery = time.Hour

// run throws away the certificates of hosts that are no longer served, now and
// then, and issues those of another CA anew, until ctx ends.
func (l *local) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.sweep(ctx)
			l.doubt() // one may have been on its way when the CA changed
		case <-l.doubts:
			l.reissue(ctx)
		}
	}
}

// errBudget is what a handshake fails with that asks for one new name too many.
var errBudget = errors.New("certs: too many new names at a time")

// certificate returns the one for a subject of subjectOf, a new one if there is none.
func (l *local) certificate(ctx context.Context, subject string) (*tls.Certificate, error) {
	var err error
	for range 3 { // it may be thrown away at once, when another CA is adopted
		if cert := l.lookup(subject); cert != nil {
			return cert, nil
		}
		if err = l.ensure(ctx, subject, false); err != nil {
			break
		}
	}
	switch {
	case err == nil:
		return l.lookup(subject), nil
	case errors.Is(err, errBudget):
		l.warned.Do(func() {
			l.log.Warn("certificates on demand are at their limit", "per_second", l.cfg.OnDemandRate)
		})
	default:
		l.log.Error("issue certificate in handshake", "host", subject, "error", err)
	}
	return nil, err
}

// lookup returns the certificate for host or for the wildcard above it, nil if
// there is none.
func (l *local) lookup(host string) *tls.Certificate {
	if cert := l.use(host); cert != nil {
		return cert
	}
	_, parent, ok := strings.Cut(host, ".")
	if !ok {
		return nil
	}
	return l.use("*." + parent)
}

func (l *local) use(subject string) *tls.Certificate {
	l.mu.RLock()
	n := l.names[subject]
	l.mu.RUnlock()
	if n == nil {
		return nil
	}
	n.used.Store(time.Now().UnixNano())
	return l.valid(subject)
}

// valid returns subject's certificate from memory, nil if there is none or it
// has expired.
func (l *local) valid(subject string) *tls.Certificate {
	now := time.Now()
	var best *certmagic.Certificate
	for _, c := range l.cache.AllMatchingCertificates(subject) {
		if c.Leaf == nil || now.After(c.Leaf.NotAfter) || c.Names[0] != subject {
			continue
		}
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c
		}
	}
	if best == nil {
		return nil
	}
	return &best.Certificate
}
