package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// kvNode is a node with its key-value store.
type kvNode struct {
	*node
	kv *KV
}

func startKV(t *testing.T, dir string, cfg KVConfig) *kvNode {
	t.Helper()
	n := start(t, dir)
	return &kvNode{n, NewKV(n.Cluster, cfg)}
}

func (n *kvNode) kvPut(app, store, key, value string) uint64 {
	n.t.Helper()
	r, err := n.kv.Put(n.t.Context(), app, store, key, []byte(value), KVPut{})
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// kvGet returns a value, or the error's text.
func (n *kvNode) kvGet(app, store, key string) string {
	value, _, err := n.kv.Get(n.t.Context(), app, store, key)
	if errors.Is(err, ErrNotFound) {
		return "none"
	}
	if err != nil {
		return err.Error()
	}
	return string(value)
}

func TestKVKeysAreTheAppsOwn(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	places := [][2]string{{"a", "s"}, {"a", "t"}, {"b", "s"}, {"a-b", "s"}}
	keys := []string{"k", "K", "a.b", "a*", ">", "$KV", "ü/€ 1", "\x00", "a=2eb", strings.Repeat("é", MaxKVKey/2)}
	for _, p := range places {
		for _, key := range keys {
			n.kvPut(p[0], p[1], key, p[0]+p[1]+key)
		}
	}
	for _, p := range places {
		for _, key := range keys {
			if got := n.kvGet(p[0], p[1], key); got != p[0]+p[1]+key {
				t.Errorf("%v, %q: %q", p, key, got)
			}
		}
	}
	if err := n.kv.Delete(t.Context(), "a", "s", "k", nil); err != nil {
		t.Fatal(err)
	}
	if got := n.kvGet("a", "s", "k") + n.kvGet("b", "s", "k") + n.kvGet("a", "t", "k"); got != "none"+"bsk"+"atk" {
		t.Errorf("after deleting a's key: %q", got)
	}
	if err := n.kv.Delete(t.Context(), "a", "s", "k", nil); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestKVRefusesArguments(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	for _, c := range []struct{ name, app, store, key string }{
		{"no app", "", "s", "k"},
		{"no store", "a", "", "k"},
		{"no key", "a", "s", ""},
		{"a wildcard for a store", "a", "*", "k"},
		{"two stores in one", "a", "s.t", "k"},
		{"all stores", "a", ">", "k"},
		{"a store with a space", "a", "s t", "k"},
		{"a long store", "a", strings.Repeat("s", 64), "k"},
		{"a long key", "a", "s", strings.Repeat("k", MaxKVKey+1)},
		{"a key that is not UTF-8", "a", "s", "\xff"},
	} {
		if _, _, err := n.kv.Get(t.Context(), c.app, c.store, c.key); !errors.Is(err, ErrKVInvalid) {
			t.Errorf("%s: get: %v", c.name, err)
		}
		if _, err := n.kv.Put(t.Context(), c.app, c.store, c.key, nil, KVPut{}); !errors.Is(err, ErrKVInvalid) {
			t.Errorf("%s: put: %v", c.name, err)
		}
		if err := n.kv.Delete(t.Context(), c.app, c.store, c.key, nil); !errors.Is(err, ErrKVInvalid) {
			t.Errorf("%s: delete: %v", c.name, err)
		}
	}
	if _, _, err := n.kv.List(t.Context(), "a", "*", "", "", 10); !errors.Is(err, ErrKVInvalid) {
		t.Errorf("list of every store: %v", err)
	}
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", make([]byte, maxKVValue+1), KVPut{}); !errors.Is(err, ErrKVTooLarge) {
		t.Errorf("a large value: %v", err)
	}
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", nil, KVPut{TTL: time.Millisecond}); !errors.Is(err, ErrKVInvalid) {
		t.Errorf("a part of a second: %v", err)
	}
	largest := bytes.Repeat([]byte{0xff}, maxKVValue)
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", largest, KVPut{}); err != nil || n.kvGet("a", "s", "k") != string(largest) {
		t.Errorf("the largest value: %v", err)
	}
}

func TestKVComparesAndSets(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	put := func(expect *uint64) (uint64, error) {
		return n.kv.Put(t.Context(), "a", "s", "k", []byte("v"), KVPut{Expect: expect})
	}
	conflict := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v, want ErrConflict", what, err)
		}
	}
	_, err := put(new(uint64(7)))
	conflict("put at 7 of a key that is not there", err)
	first, err := put(new(uint64(0)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = put(new(uint64(0)))
	conflict("put of a key that must not be there", err)
	second, err := put(new(first))
	if err != nil || second <= first {
		t.Errorf("put at %d: %d, %v", first, second, err)
	}
	_, err = put(new(first))
	conflict("put at an old revision", err)
	conflict("delete at an old revision", n.kv.Delete(t.Context(), "a", "s", "k", new(first)))
	if err := n.kv.Delete(t.Context(), "a", "s", "k", new(second)); err != nil {
		t.Errorf("delete at %d: %v", second, err)
	}
	conflict("delete of a key that is gone", n.kv.Delete(t.Context(), "a", "s", "k", new(second)))
	if _, err := put(new(uint64(0))); err != nil {
		t.Errorf("put after delete: %v", err)
	}
}

func TestKVList(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	for _, key := range []string{"b/2", "b/1", "b/10", "a", "c.d", "ü"} {
		n.kvPut("a", "s", key, "x")
	}
	n.kvPut("a", "t", "b/3", "x")
	n.kvPut("b", "s", "b/4", "x")
	for _, c := range []struct {
		prefix, cursor string
		limit          int
		want, next     string
	}{
		{"", "", 10, "a b/1 b/10 b/2 c.d ü", ""},
		{"b/", "", 10, "b/1 b/10 b/2", ""},
		{"b/", "", 2, "b/1 b/10", "b/10"},
		{"b/", "b/10", 2, "b/2", ""},
		{"", "c.d", 1, "ü", ""},
		{"nothing", "", 10, "", ""},
	} {
		keys, next, err := n.kv.List(t.Context(), "a", "s", c.prefix, c.cursor, c.limit)
		if got := strings.Join(keys, " "); got != c.want || next != c.next || err != nil {
			t.Errorf("KVList(%q, %q, %d) = %q, %q, %v, want %q, %q", c.prefix, c.cursor, c.limit, got, next, err, c.want, c.next)
		}
	}
}

func TestKVOutlivesRestarts(t *testing.T) {
	dir := t.TempDir()
	n := startKV(t, dir, KVConfig{})
	at := n.kvPut("a", "s", "k", "kept")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startKV(t, dir, KVConfig{})
	value, revision, err := n.kv.Get(t.Context(), "a", "s", "k")
	if string(value) != "kept" || revision != at || err != nil {
		t.Errorf("after a restart: %q at %d, %v; want it at %d", value, revision, err, at)
	}
}

func TestKVKeysExpire(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", []byte("v"), KVPut{TTL: time.Second}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		_, _, err := n.kv.Get(ctx, "a", "s", "k")
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", nil, KVPut{Expect: new(uint64(0))}); err != nil {
		t.Errorf("put after it has expired: %v", err)
	}
}

func TestKVQuota(t *testing.T) {
	dir := t.TempDir()
	cfg := KVConfig{Bytes: 100, Keys: 3}
	n := startKV(t, dir, cfg)
	put := func(app, key string, size int) error {
		_, err := n.kv.Put(t.Context(), app, "s", key, make([]byte, size), KVPut{})
		return err
	}
	steps := []struct {
		name, app, key string
		size           int
		ok             bool
	}{
		{"the first", "a", "1", 49, true},
		{"one too large", "a", "2", 50, false},
		{"one that fits", "a", "2", 49, true},
		{"another app", "b", "1", 49, true},
		{"one more byte", "a", "3", 0, false},
		{"a smaller value in its place", "a", "2", 10, true},
		{"the third key", "a", "3", 1, true},
		{"a fourth key", "a", "4", 1, false},
		{"an old key", "a", "3", 2, true},
	}
	for _, s := range steps {
		if err := put(s.app, s.key, s.size); (err == nil) != s.ok || err != nil && !errors.Is(err, ErrKVQuota) {
			t.Errorf("%s: %v, want ok = %v", s.name, err, s.ok)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startKV(t, dir, cfg)
	if err := put("a", "4", 1); !errors.Is(err, ErrKVQuota) {
		t.Errorf("a fourth key after a restart: %v", err)
	}
	if err := n.kv.Delete(t.Context(), "a", "s", "1", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("a", "4", 1); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}

func TestKVWithoutRegister(t *testing.T) {
	n := newNode(t, Config{Dir: t.TempDir(), Timeout: time.Millisecond})
	kv := NewKV(n.Cluster, KVConfig{})
	if _, _, err := kv.Get(t.Context(), "a", "s", "k"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if _, err := kv.Put(t.Context(), "a", "s", "k", nil, KVPut{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if _, _, err := kv.List(t.Context(), "a", "s", "", "", 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("list: %v", err)
	}
}

// TestKVMakesItsBucketAnew: somebody has deleted it.
func TestKVMakesItsBucketAnew(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	n.kvPut("a", "s", "k", "old")
	js, err := n.status.Load().reg.jetStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), kvStream); err != nil {
		t.Fatal(err)
	}
	if _, err := n.kv.Put(t.Context(), "a", "s", "k", nil, KVPut{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the first put: %v", err)
	}
	n.kvPut("a", "s", "k", "new")
	if got := n.kvGet("a", "s", "k"); got != "new" {
		t.Errorf("then %q", got)
	}
}

// TestKVCounter counts with compare-and-set from several goroutines.
func TestKVCounter(t *testing.T) {
	n := startKV(t, t.TempDir(), KVConfig{})
	const workers, each = 4, 10
	errs := make(chan error, workers)
	for range workers {
		go func() { errs <- n.count(t.Context(), each) }()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if got, want := n.kvGet("a", "s", "n"), fmt.Sprint(workers*each); got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func (n *kvNode) count(ctx context.Context, times int) error {
	for times > 0 {
		value, at, err := n.kv.Get(ctx, "a", "s", "n")
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		var v int
		fmt.Sscan(string(value), &v)
		_, err = n.kv.Put(ctx, "a", "s", "n", fmt.Append(nil, v+1), KVPut{Expect: &at})
		if err == nil {
			times--
		} else if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return nil
}

func FuzzKVKey(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "=2e", "=", "=a", "=41", "=2E", "ü", "\x00", "a=2eb=", "*", ">"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := escapeKVKey(s)
		if strings.ContainsAny(token, ".*> \t\r\n$") || strings.ContainsFunc(token, func(r rune) bool { return r > utf8.RuneSelf }) {
			t.Errorf("escapeKVKey(%q) = %q, which is no token of a subject", s, token)
		}
		if back, ok := unescapeKVKey(token); !ok || back != s {
			t.Errorf("%q comes back from %q as %q, %v", s, token, back, ok)
		}
		if key, ok := unescapeKVKey(s); ok && escapeKVKey(key) != s {
			t.Errorf("unescapeKVKey(%q) = %q, which is written %q", s, key, escapeKVKey(key))
		}
	})
}

// TestKVAtAnEdge: a node that may not write the register keeps its functions' values.
func TestKVAtAnEdge(t *testing.T) {
	l := newLab(t, 1, 1)
	hub, e := &kvNode{l.hubs[0], NewKV(l.hubs[0].Cluster, KVConfig{})}, &kvNode{l.edges[0], NewKV(l.edges[0].Cluster, KVConfig{Keys: 2})}
	if err := hub.kv.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := hub.kvPut("a", "s", "from/hub", "1")
	if got := e.kvGet("a", "s", "from/hub"); got != "1" {
		t.Errorf("the edge gets %q", got)
	}
	if _, err := e.kv.Put(t.Context(), "a", "s", "from/hub", nil, KVPut{Expect: new(at + 1)}); !errors.Is(err, ErrConflict) {
		t.Errorf("the edge puts at another revision: %v", err)
	}
	e.kvPut("a", "s", "from/edge", "2")
	if got := hub.kvGet("a", "s", "from/edge"); got != "2" {
		t.Errorf("the hub gets %q", got)
	}
	if _, err := e.kv.Put(t.Context(), "a", "s", "third", nil, KVPut{}); !errors.Is(err, ErrKVQuota) {
		t.Errorf("a key too many: %v", err)
	}
	if err := e.kv.Delete(t.Context(), "a", "s", "from/hub", &at); err != nil {
		t.Errorf("the edge deletes: %v", err)
	}
	if keys, _, err := e.kv.List(t.Context(), "a", "s", "", "", 10); len(keys) != 1 || err != nil {
		t.Errorf("the edge lists %q, %v", keys, err)
	}
}
