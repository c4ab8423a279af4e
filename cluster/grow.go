package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A node that kept the register alone becomes one of several hubs in two parts. Grow,
// while it is stopped, saves its streams to grow/ and puts its store aside: a store of
// a node that is alone is never opened with the options of a cluster. The hub's first
// session restores them for all hubs, see [session.replant]; until then no hub makes
// a register of its own, see [session.consent].
//
// The order on disk makes each step safe to be the last: the snapshots are whole
// before grow/ has its name, and while nats/ is still the old store they count for
// nothing; when nats/ has been renamed they are all that counts.
const (
	growDir  = "grow"
	growTmp  = "grow.tmp"
	growPlan = "plan.json"
	grownDir = "grown"
)

// plan is what grow/ holds.
type plan struct {
	Made     time.Time  `json:"made"`
	Aside    string     `json:"aside"` // where the old store goes, below the data directory
	Streams  []snapshot `json:"streams"`
	Revision uint64     `json:"revision"`
}

// ErrNotAlone means that a data directory is not one of a node that keeps the register
// alone.
var ErrNotAlone = errors.New("cluster: nothing to prepare")

// Grown is what [Grow] has done.
type Grown struct {
	Revision uint64 // the register's last
	Aside    string // where the old store is
	Again    bool   // it had been done before
	Made     time.Time
}

// Grow prepares the data directory of a node that has kept the register alone, and is
// stopped, to be started as one of several hubs. It may be interrupted at any point and
// called again. It returns [ErrInUse] or [ErrNotAlone].
func Grow(ctx context.Context, dir string, log *slog.Logger) (Grown, error) {
	return (&growth{dir: dir, log: log}).run(ctx)
}

// growth is one call of Grow.
type growth struct {
	dir  string
	log  *slog.Logger
	plan plan
	stop func(before string) error // for tests: ends it before a step
}

func (g *growth) run(ctx context.Context) (Grown, error) {
	whose, err := storeOwner(g.dir)
	if err != nil {
		return Grown{}, err
	}
	pending, isPending, err := readPlan(g.dir)
	if err != nil && whose != storeAlone {
		return Grown{}, err
	}
	switch {
	case whose == storeAlone:
	case isPending:
		g.plan = pending
		err := locked(g.dir, g.claim)
		return Grown{Revision: pending.Revision, Aside: filepath.Join(g.dir, pending.Aside), Again: true, Made: pending.Made}, err
	case whose == storeCluster:
		return Grown{}, fmt.Errorf("%w: the node of %s is one of several hubs already: start it with --join", ErrNotAlone, g.dir)
	default:
		return Grown{}, fmt.Errorf("%w: %s has no register: a new hub is just started with --join", ErrNotAlone, g.dir)
	}
	if err := g.save(ctx); err != nil {
		return Grown{}, err
	}
	return Grown{Revision: g.plan.Revision, Aside: filepath.Join(g.dir, g.plan.Aside), Made: g.plan.Made}, nil
}

// save opens the register alone, as it was, and takes its streams along. It has the
// directory to itself until it returns.
func (g *growth) save(ctx context.Context) error {
	c, err := New(Config{Dir: g.dir, Logger: g.log})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the lock ends with the file
	if err := c.whileUp(ctx, g.snapshots); err != nil {
		return fmt.Errorf("save the register: %w", err)
	}
	if err := g.before("rename snapshots"); err != nil {
		return err
	}
	if err := g.rename(growTmp, growDir); err != nil {
		return err
	}
	if err := g.before("put the store aside"); err != nil {
		return err
	}
	if err := g.rename("nats", g.plan.Aside); err != nil {
		return err
	}
	if err := g.before("claim"); err != nil {
		return err
	}
	return g.claim()
}

func (g *growth) before(step string) error {
	if g.stop == nil {
		return nil
	}
	return g.stop(step)
}

// claim makes the store that the hub will have.
func (g *growth) claim() error { return claimStore(filepath.Join(g.dir, "nats"), hub) }

func (g *growth) rename(from, to string) error {
	if err := os.Rename(filepath.Join(g.dir, from), filepath.Join(g.dir, to)); err != nil {
		return fmt.Errorf("prepare %s: %w", g.dir, err)
	}
	return syncDir(g.dir)
}

// whileUp runs the node, without anybody to apply what it hears, for as long as f takes.
func (c *Cluster) whileUp(ctx context.Context, f func(context.Context, *register) error) error {
	up, cancel := context.WithCancel(ctx)
	a := &applier{c: c, apply: func(context.Context, Update) error { return nil }, live: c.start.entries, pos: c.start.pos}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.up(up, a)
	}()
	defer func() { cancel(); <-ended }()
	wctx, done := context.WithTimeoutCause(ctx, rebuildIn, errNoAnswer)
	defer done()
	select {
	case <-c.opened:
	case <-wctx.Done():
		return context.Cause(wctx)
	}
	st := c.status.Load()
	if st.err != nil {
		return st.err
	}
	return f(wctx, st.reg)
}

// snapshots saves all streams and the plan.
func (g *growth) snapshots(ctx context.Context, r *register) error {
	tmp := filepath.Join(g.dir, growTmp)
	for _, dir := range []string{tmp, filepath.Join(g.dir, growDir)} { // of a try before this one
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	names, err := r.streams(ctx)
	if err != nil {
		return err
	}
	// The register comes last: once it is restored, so is everything else.
	if i := slices.Index(names, streamName); i >= 0 {
		names = append(slices.Delete(names, i, i+1), streamName)
	}
	now := time.Now().UTC()
	g.plan = plan{Made: now, Aside: "nats-alone-" + now.Format("20060102-150405")}
	for _, name := range names {
		snap, err := r.backup(ctx, name, tmp)
		if err != nil {
			return err
		}
		if name == streamName {
			if g.plan.Revision, err = snap.last(); err != nil {
				return err
			}
		}
		g.plan.Streams = append(g.plan.Streams, snap)
	}
	b, err := json.Marshal(g.plan)
	if err != nil {
		return err
	}
	if err := g.before("write plan"); err != nil {
		return err
	}
	if err := writeDurably(filepath.Join(tmp, growPlan), b); err != nil {
		return err
	}
	return syncDir(tmp)
}

// readPlan reads what grow/ holds, and reports whether there is one.
func readPlan(dir string) (plan, bool, error) {
	file := filepath.Join(dir, growDir, growPlan)
	b, err := os.ReadFile(file) //nolint:gosec // a file of ours
	if errors.Is(err, os.ErrNotExist) {
		return plan{}, false, nil
	}
	var p plan
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && (p.Aside == "" || p.Aside != filepath.Base(p.Aside)) {
		err = fmt.Errorf("%q is no folder of ours", p.Aside)
	}
	if err != nil {
		return plan{}, false, fmt.Errorf("read %s: %w", file, err)
	}
	return p, true, nil
}

// storeOwner is what the marker of the directory's store says; empty if there is none.
func storeOwner(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "nats", markerFile)) //nolint:gosec // a file of ours
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the register's store: %w", err)
	}
	whose, _, _ := strings.Cut(string(b), "\n")
	return whose, nil
}

// locked calls f with the data directory locked.
func locked(dir string, f func() error) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the lock ends with the file
	return f()
}

// Ungrow takes [Grow] back: the node is alone again, as it was. It returns [ErrInUse],
// or [ErrNotAlone] if Grow was not called or the node has run as a hub since.
func Ungrow(dir string) error {
	return locked(dir, func() error {
		p, ok, err := readPlan(dir)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %s is not prepared", ErrNotAlone, dir)
		}
		nats, aside := filepath.Join(dir, "nats"), filepath.Join(dir, p.Aside)
		if whose, err := storeOwner(dir); err != nil || whose != storeAlone {
			if err != nil {
				return err
			}
			if err := putBack(nats, aside); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, growDir)); err != nil {
			return fmt.Errorf("take back: %w", err)
		}
		return syncDir(dir)
	})
}

// putBack puts the old store in the place of one that no hub has used yet.
func putBack(nats, aside string) error {
	inside, err := os.ReadDir(nats)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("take back: %w", err)
	}
	for _, e := range inside {
		if !strings.HasPrefix(e.Name(), markerFile) {
			return fmt.Errorf("%w: the node has run as a hub since: the cluster has its register, or will have it when the other hubs are up", ErrNotAlone)
		}
	}
	if err := os.RemoveAll(nats); err != nil {
		return fmt.Errorf("take back: %w", err)
	}
	if err := os.Rename(aside, nats); err != nil {
		return fmt.Errorf("take back: %w", err)
	}
	return syncDir(filepath.Dir(nats))
}
