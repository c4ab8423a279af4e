package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// seed fills the node and returns what is in it and the revision it is at.
func (n *node) seed() (map[string]string, uint64) {
	n.t.Helper()
	want := map[string]string{}
	for i := range 8 {
		key := fmt.Sprintf("head.app%d", i)
		n.must(put(key, "v"+key, 0))
		want[key] = "v" + key
	}
	rev := n.must(put("host.a", "x", 0), put("host.b", "x", 0))
	want["host.b"] = "x"
	rev = n.must(Change{Key: "host.a", Expect: rev - 1})
	n.wait(rev)
	return want, rev
}

// served fails the test if apply has ever lost one of the keys.
func (n *node) served(want map[string]string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := map[string]bool{}
	for _, u := range n.updates {
		here := map[string]bool{}
		for _, e := range u.Entries {
			here[e.Key] = e.Value != nil
		}
		for key := range want {
			alive, told := here[key]
			if seen[key] && (told && !alive || u.Full && !told) {
				n.t.Errorf("the update at revision %d drops %q", u.Revision, key)
			}
			seen[key] = seen[key] || alive
		}
	}
}

// rebuilt waits until the register is up after a loss and checks that it is whole.
func (n *node) rebuilt(want map[string]string, above uint64) {
	n.t.Helper()
	until(n.t, "rebuilt", func() bool {
		return strings.Contains(n.log.String(), "register was lost; rebuilt from the last good state")
	})
	n.ready()
	got, err := n.List(n.t.Context(), "")
	if err != nil {
		n.t.Fatal(err)
	}
	in := map[string]string{}
	for _, e := range got {
		in[e.Key] = string(e.Value)
		if e.Revision <= above {
			n.t.Errorf("%s has revision %d again, all were up to %d before", e.Key, e.Revision, above)
		}
	}
	if !maps.Equal(in, want) {
		n.t.Errorf("register has %v, want %v", in, want)
	}
	// The entries that apply knows can be compared and set.
	until(n.t, "new revisions applied", func() bool { return n.Applied() > above })
	n.mu.Lock()
	e := n.entries["head.app1"]
	n.mu.Unlock()
	rev := n.must(put("head.app1", "again", e.Revision))
	n.wait(rev)
	want["head.app1"] = "again"
	if got := n.values(); !maps.Equal(got, want) {
		n.t.Errorf("applied %v, want %v", got, want)
	}
	n.served(want)
}

func (n *node) jetStream() jetstream.JetStream {
	n.t.Helper()
	js, err := n.status.Load().reg.jetStream()
	if err != nil {
		n.t.Fatal(err)
	}
	return js
}

func TestLostWhileRunning(t *testing.T) {
	losses := map[string]func(context.Context, jetstream.JetStream) error{
		"deleted": func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, streamName) },
		"purged": func(ctx context.Context, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, streamName)
			if err != nil {
				return err
			}
			return s.Purge(ctx)
		},
		"made anew": func(ctx context.Context, js jetstream.JetStream) error {
			if err := js.DeleteStream(ctx, streamName); err != nil {
				return err
			}
			_, err := js.CreateStream(ctx, bucketConfig(newBucketID(time.Now()), 0, 1))
			return err
		},
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, t.TempDir())
			want, rev := n.seed()
			if err := lose(t.Context(), n.jetStream()); err != nil {
				t.Fatal(err)
			}
			n.rebuilt(want, rev)
			n.stop()
			again := start(t, n.cfg.Dir)
			until(t, "applied after a restart", func() bool { return maps.Equal(again.values(), want) })
			if strings.Contains(again.log.String(), "level=ERROR") {
				t.Errorf("the rebuilt register is not an ordinary one:\n%s", again.log)
			}
		})
	}
}

func TestLostWhileStopped(t *testing.T) {
	// Each gets the data directory of a stopped node, and a copy of its nats/ from
	// when half of the entries were there.
	losses := map[string]func(t *testing.T, dir, before string){
		"store removed": func(t *testing.T, dir, _ string) {
			must(t, os.RemoveAll(filepath.Join(dir, "nats")))
		},
		"store from before": func(t *testing.T, dir, before string) {
			must(t, os.RemoveAll(filepath.Join(dir, "nats")))
			must(t, os.CopyFS(filepath.Join(dir, "nats"), os.DirFS(before)))
		},
		"stream removed": func(t *testing.T, dir, _ string) {
			must(t, os.RemoveAll(filepath.Join(dir, "nats", "jetstream", "$G", "streams", streamName)))
		},
		"files overwritten": func(t *testing.T, dir, _ string) {
			must(t, garble(filepath.Join(dir, "nats", "jetstream")))
		},
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, before := t.TempDir(), t.TempDir()
			n := start(t, dir)
			n.wait(n.must(put("early", "x", 0)))
			n.stop()
			must(t, os.CopyFS(before, os.DirFS(filepath.Join(dir, "nats"))))
			n = start(t, dir)
			want, rev := n.seed()
			want["early"] = "x"
			n.stop()
			lose(t, dir, before)

			n = newNode(t, Config{Dir: dir}).run()
			n.rebuilt(want, rev)
			if u := n.first(); !u.Full || u.Revision != rev {
				t.Errorf("first update = %+v, want the last good state at %d", u, rev)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// garble overwrites every file below dir with noise.
func garble(dir string) error {
	noise := rand.NewChaCha8([32]byte{1})
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b := make([]byte, 1000)
		noise.Read(b)
		return os.WriteFile(path, b, 0o600)
	})
}

// A rebuild that was cut short leaves a new bucket with some of the entries. What
// it has is newer than the state, what it lacks is not deleted.
func TestHalfRebuilt(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	want, rev := n.seed()
	n.stop()
	kept := n.start.pos // of the first start: none
	if kept.bucket != 0 {
		t.Fatalf("position at the first start = %+v", kept)
	}
	saved := t.TempDir()
	must(t, os.CopyFS(saved, os.DirFS(filepath.Join(dir, "state"))))

	n = start(t, dir)
	must(t, n.jetStream().DeleteStream(t.Context(), streamName))
	if _, err := n.jetStream().CreateStream(t.Context(), bucketConfig(newBucketID(time.Now()), rev+1, 1)); err != nil {
		t.Fatal(err)
	}
	reg := n.status.Load().reg
	for _, ch := range []Change{put("head.app2", "newer", 0), {Key: "head.app3"}} {
		if _, err := reg.publish(t.Context(), []Change{ch}, []uint64{0}); err != nil {
			t.Fatal(err)
		}
	}
	n.stop()
	must(t, os.RemoveAll(filepath.Join(dir, "state")))
	must(t, os.CopyFS(filepath.Join(dir, "state"), os.DirFS(saved)))

	want["head.app2"] = "newer"
	delete(want, "head.app3")
	n = newNode(t, Config{Dir: dir}).run()
	n.rebuilt(want, rev)
}

func TestClosedConnectionIsReplaced(t *testing.T) {
	n := start(t, t.TempDir())
	want, _ := n.seed()
	n.status.Load().reg.nc.Close()
	until(t, "not ready", func() bool { return n.Ready() != nil })
	n.ready()
	n.wait(n.must(put("after", "x", 0)))
	want["after"] = "x"
	if got := n.values(); !maps.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
}

func TestServesWhenNATSCannotStart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	want, rev := n.seed()
	n.stop()
	store := filepath.Join(dir, "nats", "jetstream")
	must(t, os.Rename(store, store+".good"))
	must(t, os.WriteFile(store, []byte("not a directory"), 0o600))

	n = newNode(t, Config{Dir: dir}).run()
	n.wait(rev)
	if got := n.values(); !maps.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
	until(t, "said why", func() bool {
		err := n.Ready()
		return err != nil && strings.Contains(err.Error(), "start embedded NATS server") && strings.Contains(err.Error(), "move that folder away")
	})
	_, err := n.Commit(t.Context(), put("k", "v", 0))
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "start embedded NATS server") {
		t.Errorf("Commit = %v, want ErrUnavailable with the reason", err)
	}
	if _, err := n.Get(t.Context(), "k"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Get = %v, want ErrUnavailable", err)
	}
	if _, err := n.List(t.Context(), ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("List = %v, want ErrUnavailable", err)
	}
	until(t, "said so loudly", func() bool { return strings.Contains(n.log.String(), "level=ERROR") })
	must(t, os.Remove(store))
	must(t, os.Rename(store+".good", store))
	n.ready()
	if rev2 := n.must(put("k", "v", 0)); rev2 != rev+1 {
		t.Errorf("next revision = %d, want %d: it is the old register", rev2, rev+1)
	}
}

func TestStoreOfAClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "nats"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "nats", markerFile), []byte("hub\n"), 0o600))
	_, err := New(Config{Dir: dir})
	if !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "--join") {
		t.Errorf("New = %v, want ErrStore and what to do", err)
	}
}

func TestStateFiles(t *testing.T) {
	newest := func(t *testing.T, dir string) []string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "state", statePrefix+"*"))
		must(t, err)
		if len(files) != stateKept {
			t.Fatalf("kept %v, want %d", files, stateKept)
		}
		return files
	}
	damages := map[string]func(path string) error{
		"cut short": func(path string) error { return os.Truncate(path, 40) },
		"emptied":   func(path string) error { return os.Truncate(path, 0) },
		"a bit flipped": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 4
			return os.WriteFile(path, b, 0o600)
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			n := newNode(t, Config{Dir: dir})
			n.states.compactAt = 1 // a whole state for each change
			n.run().ready()
			want, rev := n.seed()
			last := uint64(0)
			until(t, "as many states as are kept", func() bool { // there is at most one for each time that changes are synced
				want["head.more"] = fmt.Sprint(last)
				last = n.must(put("head.more", want["head.more"], last))
				rev = last
				n.wait(rev)
				files, err := filepath.Glob(filepath.Join(dir, "state", statePrefix+"*"))
				must(t, err)
				return len(files) == stateKept
			})
			n.stop()
			files := newest(t, dir)
			bad := files[len(files)-1]
			must(t, damage(bad))

			n = start(t, dir)
			if !strings.Contains(n.log.String(), bad) || !strings.Contains(n.log.String(), "last good state refused") {
				t.Errorf("the log does not name %s:\n%s", bad, n.log)
			}
			if u := n.first(); !u.Full || u.Revision != rev { // the journals lead to it from the one before
				t.Errorf("first update is at %d, want %d", u.Revision, rev)
			}
			n.wait(rev)
			if got := n.values(); !maps.Equal(got, want) {
				t.Errorf("applied %v, want %v", got, want)
			}
			n.stop()

			for _, file := range newest(t, dir) {
				must(t, damage(file))
			}
			n = start(t, dir)
			n.wait(rev)
			if u := n.first(); !u.Full || u.Revision != rev || len(u.Entries) != len(want) {
				t.Errorf("without a state the first update = %+v, want all of the register", u)
			}
		})
	}
}

func TestStateIsSavedLater(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.first()
	state := filepath.Join(dir, "state")
	must(t, os.Rename(state, state+".away"))
	rev := n.must(put("b", "1", 0))
	n.wait(rev) // not held up
	until(t, "the failure is logged", func() bool { return strings.Contains(n.log.String(), "last good state was not saved") })
	must(t, os.Rename(state+".away", state))
	n.stop()
	again := newNode(t, Config{Dir: dir})
	if got := again.start.pos.seq; got != rev {
		t.Errorf("state on disk is at %d, want %d", got, rev)
	}
}

func FuzzDecodeState(f *testing.F) {
	s := state{pos: position{bucket: newBucketID(time.Now()), seq: 9}, entries: table{
		"a": {Key: "a", Value: []byte("1"), Revision: 3}, "host.x": {Key: "host.x", Value: []byte{}, Revision: 9},
	}}
	f.Add(s.encode())
	f.Add(state{}.encode())
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeState(reseal(b))
		if err != nil {
			return
		}
		again, err := decodeState(got.encode())
		if err != nil || again.pos != got.pos || len(again.entries) != len(got.entries) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}
