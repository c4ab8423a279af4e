package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/leaks"
)

func TestMain(m *testing.M) {
	for env, f := range map[string]func(string) error{childEnv: commitForever, grownEnv: bringAlong} {
		if told := os.Getenv(env); told != "" {
			if err := f(told); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	leaks.Main(m)
}

// node is a running Cluster and what its apply function has made of the updates.
type node struct {
	*Cluster
	t    *testing.T
	log  *logs
	stop func() error

	mu       sync.Mutex
	entries  map[string]Entry
	updates  []Update
	fail     error         // what apply returns
	gate     chan struct{} // apply waits for it, if there is one
	onUpdate func(Update)
}

// logs is a slog handler's output that can be searched and waited on.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newNode(t *testing.T, cfg Config) *node {
	t.Helper()
	n := &node{t: t, log: &logs{}, entries: map[string]Entry{}}
	cfg.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Cluster = c
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg.Dir, n.log)
		}
	})
	return n
}

// run runs the node until the test ends or stop is called.
func (n *node) run() *node {
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, n.apply) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-done })
	n.t.Cleanup(func() {
		if err := n.stop(); err != nil {
			n.t.Error(err)
		}
	})
	return n
}

func start(t *testing.T, dir string) *node {
	t.Helper()
	n := newNode(t, Config{Dir: dir}).run()
	n.ready()
	return n
}

func (n *node) apply(ctx context.Context, u Update) error {
	n.mu.Lock()
	gate, fail := n.gate, n.fail
	n.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if u.Full {
		clear(n.entries)
	}
	for _, e := range u.Entries {
		if e.Value == nil {
			delete(n.entries, e.Key)
			continue
		}
		n.entries[e.Key] = e
	}
	n.updates = append(n.updates, u)
	if n.onUpdate != nil {
		n.onUpdate(u)
	}
	return fail
}

// first waits for the first update and returns it.
func (n *node) first() Update {
	n.t.Helper()
	var u Update
	until(n.t, "first update", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.updates) == 0 {
			return false
		}
		u = n.updates[0]
		return true
	})
	return u
}

// values returns the state that apply has seen.
func (n *node) values() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := map[string]string{}
	for key, e := range n.entries {
		got[key] = string(e.Value)
	}
	return got
}

// until waits for something that the package has no event for, and gives up only
// when the test's own time is over.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

func (n *node) ready() {
	n.t.Helper()
	until(n.t, "ready", func() bool { return n.Ready() == nil })
}

func (n *node) must(changes ...Change) uint64 {
	n.t.Helper()
	rev, err := n.Commit(n.t.Context(), changes...)
	if err != nil {
		n.t.Fatal(err)
	}
	return rev
}

func (n *node) wait(rev uint64) {
	n.t.Helper()
	if err := n.Wait(n.t.Context(), rev); err != nil {
		n.t.Fatal(err)
	}
}

func put(key, value string, expect uint64) Change {
	return Change{Key: key, Value: []byte(value), Expect: expect}
}

func TestCommitIsAppliedAndRead(t *testing.T) {
	n := start(t, t.TempDir())
	if got := n.Applied(); got != 0 {
		t.Errorf("revision of a fresh register = %d, want 0", got)
	}
	n.wait(0)
	rev := n.must(put("head.shop", "v1", 0))
	if rev != 1 {
		t.Errorf("first commit has revision %d, want 1", rev)
	}
	n.wait(rev)
	if got := n.values()["head.shop"]; got != "v1" {
		t.Errorf("applied %q, want v1", got)
	}
	e, err := n.Get(t.Context(), "head.shop")
	if err != nil || string(e.Value) != "v1" || e.Revision != rev || e.Key != "head.shop" {
		t.Errorf("Get = %+v, %v", e, err)
	}
	if _, err := n.Get(t.Context(), "head.other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing = %v, want ErrNotFound", err)
	}
	empty := n.must(Change{Key: "empty", Value: []byte{}})
	if e, err := n.Get(t.Context(), "empty"); err != nil || e.Value == nil || len(e.Value) != 0 {
		t.Errorf("Get of an empty value = %+v, %v", e, err)
	}
	n.wait(empty)
	if _, ok := n.values()["empty"]; !ok {
		t.Error("an empty value was taken for a delete")
	}
}

func TestFirstUpdateOfAFreshNodeIsFullAndEmpty(t *testing.T) {
	n := start(t, t.TempDir())
	if u := n.first(); !u.Full || len(u.Entries) != 0 || u.Revision != 0 {
		t.Errorf("first update = %+v, want a full one without entries at revision 0", u)
	}
}

func TestCompareAndSet(t *testing.T) {
	n := start(t, t.TempDir())
	live := n.must(put("live", "x", 0))
	gone := n.must(put("gone", "x", 0))
	marker := n.must(Change{Key: "gone", Expect: gone})

	tests := []struct {
		name     string
		changes  []Change
		conflict string // the key named; empty: the commit succeeds
	}{
		{"create what exists", []Change{put("live", "y", 0)}, "live"},
		{"update at another revision", []Change{put("live", "y", live+100)}, "live"},
		{"update what never was", []Change{put("never", "y", 7)}, "never"},
		{"update what was deleted", []Change{put("gone", "y", gone)}, "gone"},
		{"delete at another revision", []Change{{Key: "live", Expect: live + 1}}, "live"},
		{"a batch with one stale part", []Change{put("a", "1", 0), put("live", "y", 99), put("b", "1", 0)}, "live"},
		{"a batch that creates what exists", []Change{put("a", "1", 0), put("live", "y", 0)}, "live"},
		{"a batch over a deleted key with a stale part", []Change{put("gone", "y", 0), put("live", "y", 0)}, "live"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := n.Commit(t.Context(), tt.changes...)
			if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.conflict)) {
				t.Errorf("Commit = %v, want ErrConflict naming %q", err, tt.conflict)
			}
			got, err := n.List(t.Context(), "")
			if err != nil || len(got) != 1 || got[0].Revision != live {
				t.Errorf("after a conflict the register has %v, %v, want live alone at %d", got, err, live)
			}
		})
	}

	again := n.must(put("gone", "back", 0))
	if again != marker+1 {
		t.Errorf("creating a deleted key has revision %d, want %d", again, marker+1)
	}
	n.must(Change{Key: "gone", Expect: again})
	last := n.must(put("gone", "back", 0), put("fresh", "1", 0), put("live", "y", live))
	n.wait(last)
	want := map[string]string{"gone": "back", "fresh": "1", "live": "y"}
	if got := n.values(); !maps.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
	if e, err := n.Get(t.Context(), "gone"); err != nil || e.Revision != last-2 {
		t.Errorf("first of three has revision %d, %v, want %d", e.Revision, err, last-2)
	}
}

func TestInvalidChangesAreRefused(t *testing.T) {
	n := start(t, t.TempDir())
	many := make([]Change, MaxChanges+1)
	for i := range many {
		many[i] = put(fmt.Sprintf("k%d", i), "", 0)
	}
	tests := []struct {
		name    string
		changes []Change
	}{
		{"none", nil},
		{"too many", many},
		{"one key twice", []Change{put("a", "1", 0), put("a", "2", 0)}},
		{"a delete without a revision", []Change{{Key: "a"}}},
		{"a value that is too large", []Change{{Key: "a", Value: make([]byte, MaxValue+1)}}},
		{"an empty key", []Change{put("", "1", 0)}},
		{"an empty part", []Change{put("a..b", "1", 0)}},
		{"a trailing dot", []Change{put("a.", "1", 0)}},
		{"a wildcard", []Change{put("a.*", "1", 0)}},
		{"a wildcard for the rest", []Change{put("a.>", "1", 0)}},
		{"upper case", []Change{put("A", "1", 0)}},
		{"a space", []Change{put("a b", "1", 0)}},
		{"a long key", []Change{put(strings.Repeat("k", MaxKey+1), "1", 0)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := n.Commit(t.Context(), tt.changes...)
			if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable) {
				t.Errorf("Commit = %v, want a refusal of the changes themselves", err)
			}
		})
	}
	n.must(put("host._wild.shop-1.example", strings.Repeat("v", MaxValue), 0))
	n.must(many[:MaxChanges]...)
}

func TestListIsOfOneRevision(t *testing.T) {
	n := start(t, t.TempDir())
	n.must(put("head.b", "1", 0))
	n.must(put("head.a", "1", 0))
	n.must(put("host.x", "1", 0))
	n.must(put("headless", "1", 0))
	for prefix, want := range map[string][]string{
		"head.": {"head.b", "head.a"}, "head": {"head.b", "head.a", "headless"}, "": {"head.b", "head.a", "host.x", "headless"}, "none": nil,
	} {
		got, err := n.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range got {
			keys = append(keys, e.Key)
		}
		if !slices.Equal(keys, want) {
			t.Errorf("List(%q) = %v, want %v", prefix, keys, want)
		}
	}
}

// Writers race to move a counter in two keys at once; readers and apply must only
// ever see the two equal, and no increment may be lost.
func TestBatchesAreAtomicAndLinear(t *testing.T) {
	n := newNode(t, Config{Dir: t.TempDir()})
	n.onUpdate = func(u Update) {
		if a, b := string(n.entries["a"].Value), string(n.entries["b"].Value); a != b {
			t.Errorf("apply saw a=%q b=%q at revision %d", a, b, u.Revision)
		}
	}
	n.run()
	n.ready()
	first := n.must(put("a", "0", 0), put("b", "0", 0))
	const writers, each = 3, 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				got, err := n.List(t.Context(), "")
				if err != nil || len(got) != 2 || !bytes.Equal(got[0].Value, got[1].Value) {
					t.Errorf("List = %v, %v, want two equal values", got, err)
					return
				}
				var v int
				fmt.Sscan(string(got[0].Value), &v)
				next := fmt.Sprint(v + 1)
				_, err = n.Commit(t.Context(), put(got[0].Key, next, got[0].Revision), put(got[1].Key, next, got[1].Revision))
				switch {
				case err == nil:
					done++
				case !errors.Is(err, ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	last := first + 2*writers*each
	n.wait(last)
	if want := fmt.Sprint(writers * each); n.values()["a"] != want {
		t.Errorf("a = %q after %s increments", n.values()["a"], want)
	}
	if got := n.Applied(); got != last {
		t.Errorf("Applied = %d, want %d", got, last)
	}
}

func TestSlowApplyGetsTheLatestOnly(t *testing.T) {
	n := newNode(t, Config{Dir: t.TempDir()})
	n.run()
	n.ready()
	rev := n.must(put("k", "0", 0))
	n.wait(rev)
	n.mu.Lock()
	n.gate = make(chan struct{})
	seen := len(n.updates)
	n.mu.Unlock()
	for i := range 50 {
		rev = n.must(put("k", fmt.Sprint(i), rev))
	}
	if got := n.Applied(); got >= rev {
		t.Errorf("Applied = %d while apply is at work", got)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := n.Wait(short, rev); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v while apply is at work, want DeadlineExceeded", err)
	}
	if _, err := n.List(t.Context(), ""); err != nil {
		t.Errorf("List while apply is at work: %v", err)
	}
	close(n.gate)
	n.wait(rev)
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := len(n.updates) - seen; got > 2 {
		t.Errorf("50 changes of a key were handed on in %d updates, want at most 2", got)
	}
	if got := string(n.entries["k"].Value); got != "49" {
		t.Errorf("k = %q, want 49", got)
	}
}

func TestRefusedUpdateMovesOn(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.mu.Lock()
	n.fail = errors.New("module does not compile")
	n.mu.Unlock()
	rev := n.must(put("k", "bad", 0))
	n.wait(rev)
	if !strings.Contains(n.log.String(), "module does not compile") {
		t.Error("the refusal was not logged")
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	again := newNode(t, Config{Dir: dir})
	if got := again.start.pos.seq; got != rev {
		t.Errorf("state on disk is at %d, want %d", got, rev)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	var applied uint64
	for round := range 3 {
		n := start(t, dir)
		until(t, "all applied", func() bool { return maps.Equal(n.values(), want) })
		for i := range 5 {
			key := fmt.Sprintf("k%d.%d", round, i)
			n.wait(n.must(put(key, key, 0)))
			want[key] = key
		}
		e, err := n.Get(t.Context(), fmt.Sprintf("k%d.0", round))
		if err != nil {
			t.Fatal(err)
		}
		n.wait(n.must(Change{Key: e.Key, Expect: e.Revision}))
		delete(want, e.Key)
		if n.Applied() <= applied {
			t.Errorf("revisions fell from %d to %d", applied, n.Applied())
		}
		applied = n.Applied()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(n.log.String(), "level=ERROR") {
			t.Errorf("errors in an ordinary life:\n%s", n.log)
		}
	}
}

func TestTheDiskComesBeforeNATS(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	rev := n.must(put("k", "v", 0))
	n.wait(rev)
	n.stop()

	n = newNode(t, Config{Dir: dir})
	n.gate = make(chan struct{})
	n.run()
	if err := n.Ready(); !errors.Is(err, errNotStarted) {
		t.Errorf("Ready = %v before the first apply has returned, want not started", err)
	}
	if _, err := n.Commit(t.Context(), put("x", "y", 0)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	close(n.gate)
	n.wait(rev)
	n.ready()
	if u := n.first(); !u.Full || u.Revision != rev || len(u.Entries) != 1 {
		t.Errorf("first update = %+v", u)
	}
}

func TestSecondNodeOnADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	_, err := New(Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("New = %v, want ErrInUse that names %s and --data", err, dir)
	}
	n.stop()
	c, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatalf("after the first has stopped: %v", err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

func TestAfterRun(t *testing.T) {
	n := start(t, t.TempDir())
	waited := make(chan error, 1)
	go func() { waited <- n.Wait(context.WithoutCancel(t.Context()), 1000) }()
	n.stop()
	if err := <-waited; !errors.Is(err, ErrUnavailable) {
		t.Errorf("Wait = %v, want ErrUnavailable", err)
	}
	if err := n.Ready(); err == nil {
		t.Error("Ready = nil")
	}
	if _, err := n.Commit(t.Context(), put("k", "v", 0)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	if err := n.Run(t.Context(), n.apply); err == nil {
		t.Error("a second Run succeeded")
	}
}
