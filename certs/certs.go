package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Modes.
const (
	ModeInternal = "internal" // from the CA in Config.Dir
	ModeACME     = "acme"     // from ACME servers, shared by the nodes; local names from the CA
)

// Host is a host, or a wildcard, that is to have a certificate.
type Host struct {
	Name string
	// OnDemand leaves it to the first handshake to have it ordered from an ACME server.
	OnDemand bool
}

// Config says whom a Manager has certificates for.
type Config struct {
	// Mode is ModeInternal or ModeACME. Empty means ModeInternal.
	Mode string
	// Dir is where the internal CA's root and its key are; made if it does not exist. The
	// CA that the Register has replaces them. Required.
	Dir string
	// Node is this node's name. It may be empty without a Register.
	Node string
	// Register is shared by the nodes; Sealer encrypts what is private in it. Nil: this
	// node is alone, in ModeInternal only.
	Register Register
	Sealer   Sealer
	// OldSealer opens what this node has sealed before it had Sealer. Nil: nothing.
	OldSealer Sealer
	// Lead lets this node work for all nodes: order certificates, in ModeACME, make the
	// keys of session tickets, and share its CA if the nodes have none.
	Lead bool
	// ACME says from where. It takes Lead.
	ACME ACME
	// OnDemand reports whether a handshake may order a host's certificate: a host that is
	// served by its very name, by a release that asks for it. Nil: none may.
	OnDemand func(host string) bool
	// Ask has the node that leads call [Manager.Wish], and returns what that does. Nil: this
	// node alone orders.
	Ask func(ctx context.Context, host string, renew bool) error
	// CutOff reports whether the register cannot be reached: then every node raises alarms,
	// as nobody leads. Nil: it never is.
	CutOff func() bool
	// Hosts reports whether a host, in lower case and without port, is served.
	// It is called in every handshake that names a host and must be fast. Nil
	// means that none is, beside localhost and the machine's addresses.
	Hosts func(host string) bool
	// ClientCAs returns whose certificates clients are asked for at a host; nil: they
	// are not asked. It is called in every handshake and must be fast. Nil: nowhere.
	ClientCAs func(host string) *x509.CertPool
	// Logger takes what goes wrong, and certmagic's doings at Debug. Nil means no
	// log.
	Logger *slog.Logger
	// Lifetime is that of a host's certificate of the internal CA; it is renewed when a
	// third is left. Zero means 7 days, the least is 1 hour.
	Lifetime time.Duration
	// MaxManaged is the most certificates that the internal CA issues ahead; hosts beyond
	// it get theirs in a handshake. Zero means 10,000, some 100 MiB.
	MaxManaged int
	// MaxOnDemand is the most certificates of the internal CA kept that handshakes asked
	// for; the one unused for longest makes room. Zero means 1,000.
	MaxOnDemand int
	// OnDemandRate is how many of them are issued in a second on average, ten
	// times as many at once. Zero means 20, about 2 % of a core.
	OnDemandRate int

	issuers []certmagic.Issuer // instead of ACME's, for tests
	lease   time.Duration      // as leaseLife, for tests
}

func (c Config) withDefaults() (Config, error) {
	c.Mode = cmp.Or(c.Mode, ModeInternal)
	switch {
	case c.Dir == "":
		return c, errors.New("certs: Config.Dir is empty")
	case c.Mode != ModeInternal && c.Mode != ModeACME:
		return c, fmt.Errorf("certs: Config.Mode is %q", c.Mode)
	case (c.Register == nil) != (c.Sealer == nil):
		return c, errors.New("certs: Config.Register and Config.Sealer go together")
	case c.Mode == ModeACME && c.Register == nil:
		return c, errors.New("certs: ModeACME takes Config.Register")
	}
	if c.Sealer != nil {
		c.Sealer = sealing{c.Sealer, c.OldSealer}
	}
	if c.Hosts == nil {
		c.Hosts = func(string) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.lease = cmp.Or(c.lease, leaseLife)
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
	cfg     Config
	log     *slog.Logger
	local   *local
	book    *book
	orders  *orders // nil: this node does not order
	cache   *certmagic.Cache
	wishes  wishes
	waits   chan struct{} // a token for each CA that is made to wait for a challenge
	configs atomic.Pointer[configs]
	wanted  atomic.Pointer[map[string]Host] // all that Manage was told of
	summary summaries

	unreadable rate.Sometimes // about certificates of the register that cannot be used
	closed     sync.Once

	turning   sync.Mutex // guards what follows, and is held while configs are made
	tickets   []ticketKey
	ticketsAt uint64 // revision of their entry
}

// New opens the CA in Config.Dir, or makes one. Unlike the rest of this program,
// certmagic starts its maintenance at once: call [Manager.Close] to stop it.
//
// The error names what is wrong with the configuration, or the file that is damaged,
// and says what to do.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, book: newBook(cfg.Sealer), wishes: newWishes(), waits: make(chan struct{}, maxChallengeWaits),
		unreadable: rate.Sometimes{Interval: time.Minute},
	}
	var client *http.Client
	if cfg.Mode == ModeACME && cfg.Lead {
		if client, err = m.checkACME(); err != nil {
			return nil, err
		}
	}
	ca, err := openCA(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m.local = newLocal(cfg, ca)
	m.configs.Store(m.newConfigs(nil))
	m.wanted.Store(&map[string]Host{})
	if client != nil {
		m.orders = m.newOrders(client)
	}
	return m, nil
}

// checkACME says what is wrong with Config.ACME, before anything is made.
func (m *Manager) checkACME() (*http.Client, error) {
	if len(m.cfg.ACME.Directories) == 0 && m.cfg.issuers == nil {
		return nil, errors.New("certs: Config.ACME.Directories is empty")
	}
	for _, d := range m.cfg.ACME.Directories {
		if err := checkDirectory(d); err != nil {
			return nil, err
		}
	}
	return acmeHTTP(m.cfg.ACME.RootFile)
}

func (m *Manager) newOrders(client *http.Client) *orders {
	o := &orders{
		register: m.cfg.Register, book: m.book, shelf: newShelf(m.book, m.cfg.Register, m.cfg.Node), node: m.cfg.Node, log: m.log,
		budget: newBudget(), nudged: make(chan struct{}, 1), runs: map[string]*run{}, issuers: m.cfg.issuers,
		wildcards: m.cfg.ACME.DNS != nil,
	}
	for _, d := range m.cfg.ACME.Directories {
		o.issuers = append(o.issuers, newIssuer(m.cfg.ACME, d, client, m.book, m.cfg.Register, m.log))
	}
	logger := newZap(slog.New(demoted{m.log.Handler()}))
	m.cache = certmagic.NewCache(certmagic.CacheOptions{ // has to be there, and stays empty
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return o.magic, nil },
		RenewCheckInterval: 24 * time.Hour, OCSPCheckInterval: 24 * time.Hour, Logger: logger,
	})
	o.magic = certmagic.New(m.cache, certmagic.Config{
		Issuers: o.issuers, KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256}, Storage: o.shelf,
		OCSP: certmagic.OCSPConfig{DisableStapling: true}, DisableStorageCheck: true, DisableARI: true, Logger: logger,
	})
	return o
}

func newZap(log *slog.Logger) *zap.Logger { return zap.New(newBridge(log)) }

// Run keeps certificates in order until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { m.local.run(ctx) })
	parts.Go(func() { m.watch(ctx) })
	if m.cfg.Register != nil {
		parts.Go(func() { m.followTickets(ctx) })
		if m.cfg.Lead {
			parts.Go(func() { m.campaign(ctx) })
		}
		if s, ok := m.cfg.Sealer.(sealing); ok && m.cfg.Lead && s.old != nil {
			parts.Go(func() { m.reseal(ctx, s) })
		}
	}
	<-ctx.Done()
}

// Close stops the renewing of certificates, and waits for it. The Manager goes on
// answering handshakes.
func (m *Manager) Close() error {
	m.closed.Do(func() {
		m.local.cache.Stop()
		if m.cache != nil {
			m.cache.Stop()
		}
	})
	return nil
}

// Apply takes over what the register says; full: forget what it does not. Entries whose
// keys do not begin with [Prefix] are passed over. The error names those that cannot be
// decoded.
func (m *Manager) Apply(full bool, entries []Entry) error {
	own := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if strings.HasPrefix(e.Key, Prefix) {
			own = append(own, e)
		}
	}
	if len(own) == 0 && !full {
		return nil
	}
	err := m.book.apply(full, own)
	if full || touches(own, ticketsKey) {
		m.turnTickets(time.Now())
	}
	if full || touches(own, rootKey) {
		m.adoptRoot()
	}
	if m.orders != nil {
		m.orders.look()
	}
	return err
}

func touches(entries []Entry, key string) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Key == key })
}

// Manage says which hosts are to have certificates: pass all each time. From the internal
// CA they are issued before it returns, up to Config.MaxManaged; from ACME servers they
// are ordered in the background, by the node that leads. A wildcard, "*.example.com", gets
// a wildcard certificate; a wildcard for a whole top-level domain, which clients do not
// accept, and "*" get none.
//
// The error joins those of the hosts that failed at once; the others have theirs.
func (m *Manager) Manage(ctx context.Context, hosts []Host) error {
	wanted, all, errs := map[string]Host{}, map[string]Host{}, []error(nil)
	var names []string
	for _, host := range hosts {
		host.Name = strings.ToLower(host.Name)
		all[host.Name] = host
		switch {
		case !validHost(strings.TrimPrefix(host.Name, "*.")) && host.Name != "*":
			errs = append(errs, fmt.Errorf("issue certificate for %q: it is no host name", host.Name))
		case host.Name == "*" || strings.HasPrefix(host.Name, "*.") && strings.Count(host.Name, ".") < 2:
		case m.cfg.Mode == ModeInternal || isLocal(host.Name):
			names = append(names, host.Name)
		default:
			wanted[host.Name] = host
		}
	}
	m.wanted.Store(&all)
	if m.orders != nil {
		m.orders.want(wanted)
	}
	if err := m.local.manage(ctx, names); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Root returns the CA's root certificate in PEM. Clients that trust it trust
// every certificate of the internal CA.
func (m *Manager) Root() []byte { return m.local.ca.pem() }

// RootPath returns the file that has it.
func (m *Manager) RootPath() string { return m.local.ca.path(rootFile) }

// Fingerprint returns the root's SHA-256 fingerprint as browsers show it.
func (m *Manager) Fingerprint() string {
	root, _ := m.local.ca.own()
	return fingerprint(root)
}
