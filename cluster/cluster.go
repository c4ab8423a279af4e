package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/orla-edge/orla/identity"
)

// Config is what a [Cluster] is made of.
type Config struct {
	// Dir is the node's data directory; the register lives in orla.lock, nats/ and
	// state/ below it. It is required and created if there is none.
	Dir string
	// Node is the node's name; empty means "orla".
	Node string
	// Logger takes records; nil discards them.
	Logger *slog.Logger
	// Meter makes the instruments; nil makes none.
	Meter metric.MeterProvider
	// Timeout bounds each operation on the register, besides its context; 0 means
	// 5 s. A write that gets no answer for so long makes the embedded server suspect:
	// it is restarted.
	Timeout time.Duration
	// MinFree is the space in bytes that must be free on the disk for a change to
	// be taken; 0 means 16 MiB, a negative number that it is not checked.
	MinFree int64
	// Topology says how the node reaches the register; zero: it is alone.
	Topology Topology
	// Beat returns what a hub tells every node with its heartbeat, about once a second.
	// Nil means nothing. See [Cluster.Beat].
	Beat func() []byte

	doubt   time.Duration     // see the constant; 0 means that
	reached func(step string) // see session.reached; nil means nothing
}

// Cluster is a node's part in the register. Its methods may be called
// concurrently, before, during and after Run.
type Cluster struct {
	cfg     Config
	kind    kind
	made    time.Time
	log     *slog.Logger
	metrics *instruments

	states *stateDir
	start  state // from disk
	loaded bool  // there was one

	box     *mailbox
	applied progress // revisions that apply has returned for
	saved   progress // tickets of the mailbox whose state is on disk
	status  atomic.Pointer[status]

	synced model
	link   atomic.Pointer[link] // of the present session; nil: none
	bus    bus
	pulse  pulse
	lender lender
	marks  rounds // writes of [Cluster.Barrier]

	started atomic.Bool
	opened  chan struct{} // closed when the first try to open the register has an outcome
	settle  sync.Once     // closes opened
	stopped chan struct{} // closed when Run has returned

	holds chan *hold // asks Run to let the data directory go

	mu     sync.Mutex // guards what follows
	lock   *os.File   // nil: given up
	hold   *hold      // of the Suspend that holds; nil: none
	closed bool
}

// status says what can be done with the register.
type status struct {
	reg *register // for reads; nil: none
	err error     // why the node does not follow it, or there are no changes; nil: all is well
}

// model is what the sync knows, ahead of what was applied.
type model struct {
	at progress // its revision

	mu      sync.RWMutex // guards what follows; written by the sync's goroutine only
	entries table
	pos     position
	changed uint64 // revision of the last change, heartbeats aside
	known   bool   // entries are all there are at pos
}

var (
	errNotStarted = errors.New("the register has not been started yet")
	errStopped    = errors.New("the node is stopping")
)

// New takes the data directory and loads the last good state. It starts nothing.
// It returns [ErrInUse] if another node has the directory. [Cluster.Run] gives
// the directory up when it returns; a Cluster that never runs is closed instead.
func New(cfg Config) (*Cluster, error) {
	if cfg.Dir == "" {
		return nil, errors.New("cluster: Config.Dir is required")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory %q: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	cfg.Node = cmp.Or(cfg.Node, "orla")
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.MinFree = cmp.Or(cfg.MinFree, 16<<20)
	if err := cfg.Topology.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, kind: cfg.Topology.kind(), made: time.Now(), log: cfg.Logger,
		box: newMailbox(), opened: make(chan struct{}), stopped: make(chan struct{}), holds: make(chan *hold),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		c.cfg.Meter = noop.NewMeterProvider()
	}
	c.pulse.heard = time.Now() // nothing is late yet
	c.status.Store(&status{err: errNotStarted})
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) open() error {
	var err error
	if err = os.MkdirAll(c.statePath(), 0o700); err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	if c.lock, err = lockDir(c.cfg.Dir); err != nil {
		return err
	}
	if c.kind.embedded() {
		// What else is wrong with the store keeps the node from changes, not from serving.
		if err := claimStore(c.natsPath(), c.kind); errors.Is(err, ErrStore) {
			return err
		}
	}
	c.states = &stateDir{path: c.statePath()}
	if c.start, c.loaded, err = c.states.load(c.log); err != nil {
		return err
	}
	if !c.loaded {
		c.start.entries = table{}
	}
	c.synced.entries, c.synced.pos, c.synced.known = maps.Clone(c.start.entries), c.start.pos, c.loaded
	c.synced.at.advance(c.start.pos.seq)
	c.synced.changed = c.start.pos.seq
	c.metrics, err = newInstruments(c)
	return err
}

func (c *Cluster) statePath() string { return filepath.Join(c.cfg.Dir, "state") }
func (c *Cluster) natsPath() string  { return filepath.Join(c.cfg.Dir, "nats") }

// lockDir locks the data directory for this process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "orla.lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // a file of ours
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	ok, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, err), f.Close())
	}
	if !ok {
		return nil, errors.Join(fmt.Errorf(
			"%w: another \"orla serve\" is running on %s; stop it, or pass --data with another directory", ErrInUse, dir), f.Close())
	}
	return f, nil
}

// Close gives the data directory up. It is for a Cluster that Run was not called
// on; after Run it does nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	err := c.unlock()
	if c.metrics != nil {
		err = errors.Join(err, c.metrics.close())
	}
	return err
}

// Run keeps the node in line with the register until ctx ends. It blocks, returns
// nil when everything that it started has stopped, and may be called once.
//
// First it calls apply with the full last good state from disk, if there is one;
// only then does it start the embedded server, for as long as it takes, and calls
// apply for what is newer. If there was no state on disk, the first call follows
// the first sync and is full, possibly without entries.
//
// apply is called by one goroutine, one call at a time, and not within NATS: it
// may take as long as it needs. What changes meanwhile is handed on in one call,
// of each key the latest entry, and changes that were committed together
// together. When apply has returned, [Cluster.Wait] does, and the state is
// saved to disk. An error of apply is logged and changes nothing of
// this: what a node cannot take over it refuses entry by entry, keeps what it
// serves, and records the refusal; the register has moved on all the same.
// The one exception is an error after ctx has ended.
func (c *Cluster) Run(ctx context.Context, apply func(context.Context, Update) error) error {
	if c.started.Swap(true) {
		return errors.New("cluster: Run was called before")
	}
	defer close(c.stopped)
	defer c.Close() //nolint:errcheck // the lock ends with the file, come what may
	defer c.states.close()
	defer c.setStatus(&status{err: errStopped})

	a := &applier{c: c, apply: apply, live: c.start.entries, pos: c.start.pos}
	if c.loaded {
		c.log.Info("serving the last good state", "revision", c.start.pos.seq, "count", len(c.start.entries))
		a.first(ctx)
	}
	for {
		h := c.up(ctx, a)
		if h == nil || !c.rest(ctx, h) {
			return nil
		}
	}
}

// setStatus publishes what can be done with the register from now on.
func (c *Cluster) setStatus(st *status) {
	c.status.Store(st)
	c.settle.Do(func() { close(c.opened) })
}

// awaitStatus returns what can be done with the register. While a starting node
// has yet to open it, it waits for the outcome, for one Timeout at most.
func (c *Cluster) awaitStatus(ctx context.Context) *status {
	timeout := time.NewTimer(c.cfg.Timeout)
	defer timeout.Stop()
	select {
	case <-c.opened:
	case <-ctx.Done():
	case <-timeout.C:
	}
	return c.status.Load()
}

// Role says whether the node may make changes.
func (c *Cluster) Role() identity.Role { return c.cfg.Topology.Role() }

// Alone reports whether there are no other nodes.
func (c *Cluster) Alone() bool { return c.kind == alone }

// Several reports whether this node is one of several hubs.
func (c *Cluster) Several() bool { return c.kind == hub }

// Ready returns nil when the node follows the register and, unless it is an edge,
// changes can be committed; else the reason why not.
func (c *Cluster) Ready() error {
	if err := c.status.Load().err; err != nil {
		return err
	}
	return c.checkSpace(0)
}

// Applied returns the revision up to which apply has returned.
func (c *Cluster) Applied() uint64 { return c.applied.load() }

// Wait returns when apply has returned for everything up to the revision. Else it
// returns the context's error, or [ErrUnavailable] when Run has ended.
func (c *Cluster) Wait(ctx context.Context, revision uint64) error {
	if c.applied.load() >= revision {
		return nil
	}
	if err := c.applied.wait(ctx, revision, c.stopped); err != nil {
		return fmt.Errorf("wait for revision %d, at %d: %w", revision, c.applied.load(), err)
	}
	return nil
}

// checkSpace refuses changes of so many bytes on a disk that is about to be full:
// a write that fails half-way costs a restart of the embedded server.
func (c *Cluster) checkSpace(size int64) error {
	if c.cfg.MinFree < 0 {
		return nil
	}
	free, ok := freeSpace(c.cfg.Dir)
	if !ok || free >= c.cfg.MinFree+size {
		return nil
	}
	return fmt.Errorf("the disk of %s is full (%d MiB free, %d MiB needed): free some space, then try again",
		c.cfg.Dir, free>>20, (c.cfg.MinFree+size)>>20)
}
