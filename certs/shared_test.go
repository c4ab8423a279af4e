package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/orla-edge/orla/seal"
)

// shared is a register in memory, and the Managers that it keeps in line.
type shared struct {
	mu       sync.Mutex
	entries  map[string]Entry
	revision uint64
	leases   map[string]lease
	managers []*Manager
	cut      map[string]bool // nodes that cannot reach it
}

type lease struct {
	owner    string
	revision uint64
	until    time.Time
}

func newShared() *shared {
	return &shared{entries: map[string]Entry{}, leases: map[string]lease{}, cut: map[string]bool{}}
}

// as returns the register as a node has it.
func (s *shared) as(node string) Register { return seat{s, node} }

type seat struct {
	*shared
	node string
}

var errCut = errors.New("the register cannot be reached")

func (s seat) Commit(_ context.Context, key string, value []byte, expect uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.node] {
		return errCut
	}
	if s.entries[key].Revision != expect {
		return ErrChanged
	}
	s.revision++
	e := Entry{Key: key, Value: value, Revision: s.revision}
	if value == nil {
		delete(s.entries, key)
	} else {
		s.entries[key] = e
	}
	for _, m := range s.managers {
		if err := m.Apply(false, []Entry{e}); err != nil {
			return err
		}
	}
	return nil
}

func (s seat) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.node] {
		return errCut
	}
	return nil
}

func (s seat) TakeLease(_ context.Context, name, owner string, life time.Duration) (uint64, error) {
	return s.lease(name, owner, life, 0)
}

func (s seat) RenewLease(_ context.Context, name, owner string, life time.Duration, revision uint64) (uint64, error) {
	return s.lease(name, owner, life, revision)
}

func (s seat) lease(name, owner string, life time.Duration, expect uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.node] {
		return 0, errCut
	}
	now := s.leases[name]
	if time.Now().After(now.until) {
		now = lease{}
	}
	if now.revision != expect {
		return 0, ErrChanged
	}
	s.revision++
	s.leases[name] = lease{owner, s.revision, time.Now().Add(life)}
	return s.revision, nil
}

func (s seat) DropLease(_ context.Context, name string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[name].revision != revision {
		return ErrChanged
	}
	delete(s.leases, name)
	return nil
}

// authority issues what it is asked for, unless it is down.
type testCA struct {
	ca     *internalCA
	issued atomic.Int64
	fails  atomic.Pointer[error]
	delay  time.Duration
	name   string
}

func (a *testCA) IssuerKey() string { return cmp.Or(a.name, "test-ca") }

func (a *testCA) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	select {
	case <-time.After(a.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := a.fails.Load(); err != nil {
		return nil, *err
	}
	a.issued.Add(1)
	return a.ca.Issue(ctx, request)
}

func newTestCA(t *testing.T, lifetime time.Duration) *testCA {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Lifetime: lifetime, Logger: slog.New(slog.DiscardHandler)}
	ca, err := openCA(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{ca: ca}
}

func testKey(t testing.TB) *seal.Key {
	t.Helper()
	master := make([]byte, seal.KeySize)
	if _, err := rand.Read(master); err != nil {
		t.Fatal(err)
	}
	key, err := seal.New(master)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// group are nodes that share a register and a CA.
type group struct {
	*shared
	t     *testing.T
	ca    *testCA
	key   *seal.Key
	hosts []string
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newGroup(t *testing.T, lifetime time.Duration, hosts ...string) *group {
	t.Helper()
	return &group{shared: newShared(), t: t, ca: newTestCA(t, lifetime), key: testKey(t), hosts: hosts, log: new(lockedBuffer)}
}

// add makes a node and runs it until stop is called.
func (g *group) add(name string, change func(*Config)) (m *Manager, stop func()) {
	g.t.Helper()
	cfg := Config{
		Mode: ModeACME, Dir: filepath.Join(g.t.TempDir(), "certs"), Node: name, Register: g.as(name), Sealer: g.key, Lead: true,
		Hosts: func(host string) bool { return slices.Contains(g.hosts, host) }, issuers: []certmagic.Issuer{g.ca},
		Logger: slog.New(slog.NewTextHandler(g.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	m, err := New(g.t.Context(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	var known []Entry
	for _, e := range g.entries {
		known = append(known, e)
	}
	if err := m.Apply(true, known); err != nil {
		g.t.Error(err)
	}
	g.managers = append(g.managers, m)
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
			m.Close()
		})
	}
	g.t.Cleanup(stop)
	return m, stop
}

func (g *group) manage(m *Manager, hosts ...Host) {
	g.t.Helper()
	if err := m.Manage(g.t.Context(), hosts); err != nil {
		g.t.Fatal(err)
	}
}

// setCut says whether a node can reach the register.
func (g *group) setCut(node string, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut[node] = cut
}

// leave stops a node, which hears of no change any more.
func (g *group) leave(node string, stop func()) {
	stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.managers = slices.DeleteFunc(g.managers, func(m *Manager) bool { return m.cfg.Node == node })
}
