package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/orla-edge/orla/router"
)

// ward builds releases and watches which of them are freed.
type ward struct {
	t     *testing.T
	d     *Dispatcher
	mu    sync.Mutex // guards the maps
	freed map[uint64]bool
	built map[uint64]bool
}

func newWard(t *testing.T, d *Dispatcher) *ward {
	return &ward{t: t, d: d, freed: map[uint64]bool{}, built: map[uint64]bool{}}
}

// release builds one that answers with its number, and fails the test if it answers
// after it was freed.
func (w *ward) release(number uint64, name string, hosts ...string) *Release {
	r := build(w.t, w.d, number, name, hosts[0], respondRoute("/", "x"))
	for _, host := range hosts[1:] {
		h := *r.hosts[hosts[0]]
		r.hosts[host] = &h
	}
	var gone atomic.Bool
	free := r.free
	r.free = func() {
		if gone.Swap(true) {
			w.t.Errorf("release %d was freed twice", number)
		}
		w.mu.Lock()
		w.freed[number] = true
		w.mu.Unlock()
		free()
	}
	r.hosts[hosts[0]].routes[0].handle = func(rw http.ResponseWriter, _ *http.Request, _ router.Match) {
		if gone.Load() {
			w.t.Errorf("release %d answers after it was freed", number)
		}
		_, _ = fmt.Fprint(rw, number)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.built[number] = true
	return r
}

// owned returns the numbers of the releases that are not freed.
func (w *ward) owned() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(func(yield func(uint64) bool) {
		for n := range w.built {
			if !w.freed[n] && !yield(n) {
				return
			}
		}
	})
}

func (w *ward) try(r *Release) (revert func()) {
	w.t.Helper()
	revert, err := w.d.Try(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return revert
}

// is checks what answers a host, and which releases are not freed.
func (w *ward) is(when, url, want string, owned ...uint64) {
	w.t.Helper()
	if got := text(do(w.d, http.MethodGet, url)); got != want {
		w.t.Errorf("%s: GET %s = %q, want %q", when, url, got, want)
	}
	if got := w.owned(); !slices.Equal(got, owned) {
		w.t.Errorf("%s: releases %v are not freed, want %v", when, got, owned)
	}
}

const nobody = "nothing is served under this name"

func TestTrialIsReverted(t *testing.T) {
	w := newWard(t, newDispatcher(t))
	swap(t, w.d, 7, w.release(1, "a", "a.test"))
	before := w.d.Get("a")
	revert := w.try(w.release(2, "a", "a.test"))
	w.is("on trial", "http://a.test/", "2", 1, 2)
	if parts, trial := w.d.Serving("a"); !trial || len(parts) != 1 || parts[0].Number != 2 || w.d.Revision() != 7 {
		t.Errorf("on trial: Serving = %v, %v at revision %d", parts, trial, w.d.Revision())
	}
	if h := w.d.Health("a"); len(h) != 2 || h[0].Number != 1 || h[0].Requests != 0 || h[1].Number != 2 || h[1].Requests != 1 {
		t.Errorf("on trial: Health = %+v", h)
	}
	revert()
	w.is("reverted", "http://a.test/", "1", 1)
	if _, trial := w.d.Serving("a"); trial || w.d.Get("a") != before {
		t.Errorf("after the revert: on trial %v, another release than before %v", trial, w.d.Get("a") != before)
	}
	revert()
	w.is("reverted twice", "http://a.test/", "1", 1)
	w.try(w.release(3, "a", "a.test"))()
	w.is("tried again", "http://a.test/", "1", 1)
}

func TestTrialEndsWithASwap(t *testing.T) {
	for _, tt := range []struct {
		name  string
		next  func(*ward) []Group
		want  string
		owned []uint64
	}{
		{"the tried one", func(w *ward) []Group { return groups(w.d.Keep("a", 2)) }, "2", []uint64{2}},
		{"the one put aside", func(w *ward) []Group { return groups(w.d.Keep("a", 1)) }, "1", []uint64{1}},
		{"another one", func(w *ward) []Group { return groups(w.release(3, "a", "a.test")) }, "3", []uint64{3}},
		{"both", func(w *ward) []Group {
			return []Group{{{w.d.Keep("a", 2), 1}, {w.d.Keep("a", 1), Whole - 1}}}
		}, "1", []uint64{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWard(t, newDispatcher(t))
			swap(t, w.d, 1, w.release(1, "a", "a.test"))
			revert := w.try(w.release(2, "a", "a.test"))
			if err := w.d.Swap(2, tt.next(w), nil); err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"swapped", "reverted too late"} {
				if got := text(do(w.d, http.MethodGet, "http://a.test/", "Cookie", "orla-split=0")); got != tt.want {
					t.Errorf("%s: a.test answers %q, want %q", when, got, tt.want)
				}
				if _, trial := w.d.Serving("a"); trial || !slices.Equal(w.owned(), tt.owned) {
					t.Errorf("%s: on trial %v, not freed %v, want %v", when, trial, w.owned(), tt.owned)
				}
				revert()
			}
		})
	}
}

func TestTrialOfANewName(t *testing.T) {
	w := newWard(t, newDispatcher(t))
	revert := w.try(w.release(1, "a", "a.test"))
	w.is("on trial", "http://a.test/", "1", 1)
	revert()
	w.is("reverted", "http://a.test/", nobody)
	if parts, trial := w.d.Serving("a"); parts != nil || trial || w.d.Health("a") != nil || w.d.Get("a") != nil {
		t.Errorf("something is left: %v, %v", parts, trial)
	}
	revert = w.try(w.release(2, "a", "a.test"))
	if err := w.d.Swap(2, nil, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	revert()
	w.is("removed", "http://a.test/", nobody)
}

func TestTrialIsRefused(t *testing.T) {
	w := newWard(t, newDispatcher(t))
	swap(t, w.d, 1, w.release(1, "a", "a.test"), w.release(2, "b", "b.test"))
	if _, err := w.d.Try(w.release(3, "a", "b.test")); err == nil || !strings.Contains(err.Error(), `host "b.test" belongs to b`) {
		t.Errorf("Try of a taken host = %v", err)
	}
	w.is("taken host", "http://a.test/", "1", 1, 2)
	w.is("taken host", "http://b.test/", "2", 1, 2)
	revert := w.try(w.release(4, "a", "a.test"))
	if _, err := w.d.Try(w.release(5, "a", "a.test")); !errors.Is(err, ErrTrial) {
		t.Errorf("Try in a trial = %v, want ErrTrial", err)
	}
	w.is("second trial", "http://a.test/", "4", 1, 2, 4)
	revert()
	w.is("reverted", "http://a.test/", "1", 1, 2)
}

// TestTrialGivesWayToClaims claims hosts for good that a trial has, and that its
// name had before.
func TestTrialGivesWayToClaims(t *testing.T) {
	w := newWard(t, newDispatcher(t))
	swap(t, w.d, 1, w.release(1, "a", "old.test"))
	w.try(w.release(2, "a", "new.test"))
	swap(t, w.d, 2, w.release(3, "b", "new.test"))
	w.is("the trial's host claimed", "http://new.test/", "3", 1, 3)
	w.is("the trial's host claimed", "http://old.test/", "1", 1, 3)

	revert := w.try(w.release(4, "a", "other.test"))
	swap(t, w.d, 3, w.release(5, "c", "old.test"))
	revert()
	w.is("the old host claimed", "http://old.test/", "5", 1, 3, 5)
	swap(t, w.d, 4, w.release(6, "a", "other.test"))
	w.is("replaced without its host", "http://old.test/", "5", 3, 5, 6)
}

func TestTrialOverASplit(t *testing.T) {
	w := newWard(t, newDispatcher(t))
	swapGroup(t, w.d, Group{{w.release(1, "a", "a.test", "b.test"), 5000}, {w.release(2, "a", "a.test", "b.test"), 5000}})
	revert := w.try(w.release(3, "a", "a.test"))
	w.is("on trial", "http://a.test/", "3", 1, 2, 3)
	w.is("a host that the tried one lacks", "http://b.test/", nobody, 1, 2, 3)
	if h := w.d.Health("a"); len(h) != 3 {
		t.Errorf("Health in a trial over a split = %+v", h)
	}
	revert()
	for client, want := range map[string]string{"0": "1", "9999": "2"} {
		for _, host := range []string{"a.test", "b.test"} {
			if got := text(do(w.d, http.MethodGet, "http://"+host+"/", "Cookie", "orla-split="+client)); got != want {
				t.Errorf("after the revert client %s of %s gets %q, want %q", client, host, got, want)
			}
		}
	}
	// One that has a share already may be tried on all.
	revert = w.try(w.d.Keep("a", 2))
	w.is("one of the split on trial", "http://b.test/", "2", 1, 2)
	revert()
	if parts, _ := w.d.Serving("a"); len(parts) != 2 {
		t.Errorf("after the revert: %v", parts)
	}
}

// model is what a dispatcher should do, the slow and obvious way.
type model struct {
	live, before map[uint64]uint32 // weights by release; before is nil without a trial
	trial        int               // which trial is on; 0: none
}

// answer returns the release that answers a client.
func (m *model) answer(client uint32) string {
	for _, n := range slices.Sorted(maps.Keys(m.live)) {
		if client < m.live[n] {
			return strconv.FormatUint(n, 10)
		}
		client -= m.live[n]
	}
	return nobody
}

func (m *model) owned() []uint64 {
	return slices.Compact(slices.Sorted(func(yield func(uint64) bool) {
		for _, set := range []map[uint64]uint32{m.live, m.before} {
			for n := range set {
				if !yield(n) {
					return
				}
			}
		}
	}))
}

// TestTableModel compares any sequence of swaps, splits, trials, reverts and
// removals with the model: who answers whom, and who is freed.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := New(Config{})
		defer d.Close()
		w, m := newWard(t, d), model{}
		next, trials := uint64(0), 0
		var reverts []func()
		// pick returns a release for the next group: a new one, or one at hand.
		pick := func(rt *rapid.T, taken map[uint64]uint32) *Release {
			if owned := m.owned(); len(owned) > 0 && rapid.Bool().Draw(rt, "keep") {
				n := rapid.SampledFrom(owned).Draw(rt, "number")
				if r := d.Keep("a", n); r == nil {
					rt.Fatalf("release %d cannot be kept", n)
				} else if taken[n] == 0 {
					return r
				} else {
					d.Discard(r)
				}
			}
			next++
			return w.release(next, "a", "*")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"swap": func(rt *rapid.T) {
				parts := rapid.IntRange(1, 3).Draw(rt, "parts")
				var g Group
				live, rest := map[uint64]uint32{}, uint32(Whole)
				for i := range parts {
					weight := rest
					if i < parts-1 {
						weight = rapid.Uint32Range(1, rest-uint32(parts-1-i)).Draw(rt, "weight")
					}
					rest -= weight
					r := pick(rt, live)
					g, live[r.Number] = append(g, Share{r, weight}), weight
				}
				if err := d.Swap(1, []Group{g}, nil); err != nil {
					rt.Fatal(err)
				}
				m = model{live: live}
			},
			"try": func(rt *rapid.T) {
				r := pick(rt, nil)
				revert, err := d.Try(r)
				if m.trial != 0 {
					if !errors.Is(err, ErrTrial) {
						rt.Fatalf("Try in a trial = %v", err)
					}
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				trials++
				at := trials
				m = model{live: map[uint64]uint32{r.Number: Whole}, before: m.live, trial: at}
				reverts = append(reverts, func() {
					revert()
					if m.trial == at {
						m = model{live: m.before}
					}
				})
			},
			"revert": func(rt *rapid.T) {
				if len(reverts) > 0 {
					rapid.SampledFrom(reverts).Draw(rt, "trial")()
				}
			},
			"remove": func(rt *rapid.T) {
				if err := d.Swap(1, nil, []string{"a"}); err != nil {
					rt.Fatal(err)
				}
				m = model{}
			},
			"": func(rt *rapid.T) {
				for range 5 {
					client := rapid.Uint32Range(0, Whole-1).Draw(rt, "client")
					got := text(do(d, http.MethodGet, "http://x/", "Cookie", fmt.Sprintf("orla-split=%d", client)))
					if want := m.answer(client); got != want {
						rt.Fatalf("client %d gets %q, want %q", client, got, want)
					}
				}
				if got, want := w.owned(), m.owned(); !slices.Equal(got, want) {
					rt.Fatalf("releases %v are not freed, want %v", got, want)
				}
			},
		})
	})
}

// TestTableUnderLoad changes the table at random while clients ask: each gets an
// answer, none from a release that is freed, and all are freed in the end.
func TestTableUnderLoad(t *testing.T) {
	const changes = 3000
	d := New(Config{})
	w := newWard(t, d)
	swap(t, d, 1, w.release(1, "a", "*"))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				res := do(d, http.MethodGet, "http://x/", "Cookie", fmt.Sprintf("orla-split=%d", (n*7919+i)%Whole))
				if res.StatusCode != http.StatusOK || res.Header["Set-Cookie"] != nil {
					t.Errorf("a client with a number is answered %d, with the cookie %q", res.StatusCode, res.Header["Set-Cookie"])
					return
				}
			}
		})
	}
	// Two change at once, as activation and a canary do.
	var next atomic.Uint64
	next.Store(1)
	var changers sync.WaitGroup
	for range 2 {
		changers.Go(func() {
			var revert func()
			fresh := func() *Release { return w.release(next.Add(1), "a", "*") }
			kept := func() *Release {
				if r := d.Get("a"); r != nil {
					if r := d.Keep("a", r.Number); r != nil {
						return r
					}
				}
				return fresh()
			}
			for range changes / 2 {
				switch rand.IntN(5) {
				case 0:
					_ = d.Swap(1, groups(kept()), nil)
				case 1:
					_ = d.Swap(1, []Group{{{kept(), 9000}, {fresh(), 1000}}}, nil)
				case 2:
					_ = d.Swap(1, groups(fresh()), nil)
				case 3:
					if r, err := d.Try(fresh()); err == nil {
						revert = r
					}
				case 4:
					if revert != nil {
						revert()
					}
				}
			}
		})
	}
	changers.Wait()
	close(stop)
	clients.Wait()
	d.Close()
	if left := w.owned(); len(left) > 0 {
		t.Errorf("of %d releases %v were never freed", next.Load(), left)
	}
}
