package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// Config says whom a Manager issues certificates for.
type Config struct {
	// Dir is where the CA's root and its key are; made if it does not exist.
	// Required.
	Dir string
	// Hosts reports whether a host, in lower case and without port, is served.
	// It is called in every handshake that names a host and must be fast. Nil
	// means that none is, beside localhost and the machine's addresses.
	Hosts func(host string) bool
	// Logger takes what goes wrong, and certmagic's doings at Debug. Nil means no
	// log.
	Logger *slog.Logger
	// Lifetime is that of a host's certificate; it is renewed when a third is
	// left. Zero means 7 days, the least is 1 hour.
	Lifetime time.Duration
	// MaxManaged is the most certificates that Manage issues ahead; hosts beyond
	// it get theirs in a handshake. Zero means 10,000, some 100 MiB.
	MaxManaged int
	// MaxOnDemand is the most certificates kept that handshakes asked for; the
	// one unused for longest makes room. Zero means 1,000.
	MaxOnDemand int
	// OnDemandRate is how many of them are issued in a second on average, ten
	// times as many at once. Zero means 20, about 2 % of a core.
	OnDemandRate int
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("certs: Config.Dir is empty")
	}
	if c.Hosts == nil {
		c.Hosts = func(string) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Lifetime = cmp.Or(c.Lifetime, 7*24*time.Hour)
	if c.Lifetime < time.Hour {
		return c, fmt.Errorf("certs: Config.Lifetime is %v, less than 1h", c.Lifetime)
	}
	c.MaxManaged = cmp.Or(c.MaxManaged, 10000)
	c.MaxOnDemand = cmp.Or(c.MaxOnDemand, 1000)
	c.OnDemandRate = cmp.Or(c.OnDemandRate, 20)
	return c, nil
}

// Manager keeps certificates. Its methods may be called concurrently.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	ca     *internalCA
	cache  *certmagic.Cache
	magic  *certmagic.Config
	store  *memory
	flight singleflight.Group // by subject
	budget *rate.Limiter      // of certificates on demand
	warned rate.Sometimes     // about the budget

	mu    sync.RWMutex // guards names
	names map[string]*name

	closed sync.Once
}

// New opens the CA in Config.Dir, or makes one. Unlike the rest of this program,
// certmagic starts its maintenance at once: call [Manager.Close] to stop it.
//
// The error names the file that is damaged and says what to do.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ca, err := openCA(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, ca: ca, store: newMemory(), names: map[string]*name{},
		budget: rate.NewLimiter(rate.Limit(cfg.OnDemandRate), 10*cfg.OnDemandRate),
		warned: rate.Sometimes{Interval: time.Minute},
	}
	logger := zap.New(newBridge(cfg.Logger))
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		RenewCheckInterval: renewCheck,
		Logger:             logger,
	})
	// Certificates on demand are ours to decide: certmagic's way has queues that
	// all its instances in a process share.
	m.magic = certmagic.New(m.cache, certmagic.Config{
		RenewalWindowRatio:  1.0 / 3,
		Issuers:             []certmagic.Issuer{ca},
		KeySource:           certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		OCSP:                certmagic.OCSPConfig{DisableStapling: true},
		Storage:             m.store,
		DisableStorageCheck: true,
		DisableARI:          true,
		Logger:              logger,
	})
	return m, nil
}

// renewCheck is how often certmagic looks for certificates to renew.
const renewCheck = 10 * time.Minute

// sweepEvery is how often certificates of hosts that are no longer served are
// thrown away.
const sweepEvery = time.Hour

// Run throws away the certificates of hosts that are no longer served, now and
// then, until ctx ends. It returns nil.
func (m *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.sweep(ctx)
		}
	}
}

// Close stops the renewing of certificates, and waits for it. The Manager goes on
// answering handshakes.
func (m *Manager) Close() error {
	m.closed.Do(m.cache.Stop)
	return nil
}

// Root returns the CA's root certificate in PEM. Clients that trust it trust
// every certificate of this node.
func (m *Manager) Root() []byte { return m.ca.rootPEM }

// RootPath returns the file that has it.
func (m *Manager) RootPath() string { return m.ca.path(rootFile) }

// Fingerprint returns the root's SHA-256 fingerprint as browsers show it.
func (m *Manager) Fingerprint() string { return fingerprint(m.ca.root) }

// TLSConfig returns the configuration of a server for HTTP/1.1 and HTTP/2: TLS
// 1.2 and above, session tickets with rotating keys, and for the rest Go's
// defaults, among them its post-quantum key exchange. A name that is not served
// is answered with the alert unrecognized_name (RFC 6066 §3).
func (m *Manager) TLSConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: m.getCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
		MinVersion:     tls.VersionTLS12,
	}
}
