//go:build linux

package benchcluster

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/lab"
)

const (
	calmLasts  = 10 * time.Second // without harm, to compare with
	harmLasts  = 35 * time.Second // while members are killed
	pushPause  = 50 * time.Millisecond
	lookEvery  = 10 * time.Millisecond // how exact staleness is
	elections  = 2                     // wanted by BenchmarkElection
	mostDeaths = 6
	// justBack is how long after its start a node is one that is just back.
	justBack = 2 * time.Second
	// elected is how long a push takes at least if it has waited for an election.
	elected = time.Second
)

// accepted is when the cluster has accepted a number.
type accepted struct {
	number int
	at     time.Time
}

// life is a time during which a node was up, and when it was first seen to serve each
// number that it served.
type life struct {
	from, to time.Time
	served   []accepted
}

// watcher asks a node again and again which number it serves.
type watcher struct {
	node *lab.Node

	mu       sync.Mutex // guards what follows
	lives    []life
	requests int
	failed   []string // requests that failed although the node was up
}

func (w *watcher) run(ctx context.Context) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := 0 // the change of the node's state that the last life began with
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		change, up := w.node.State()
		if !up {
			continue
		}
		number, err := serves(ctx, transport, w.node)
		now := time.Now()
		if after, _ := w.node.State(); after == change && ctx.Err() == nil {
			w.note(change != seen, now, number, err)
			seen = change
		}
	}
}

// note takes down an answer, which may be the first of a life.
func (w *watcher) note(born bool, now time.Time, number int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests++; err != nil {
		w.failed = append(w.failed, err.Error())
		return
	}
	if born {
		w.lives = append(w.lives, life{from: now})
	}
	if len(w.lives) == 0 {
		return // its first answer failed, and has been noted
	}
	l := &w.lives[len(w.lives)-1]
	l.to = now
	if n := len(l.served); n == 0 || l.served[n-1].number < number {
		l.served = append(l.served, accepted{number, now})
	}
}

// serves returns the number that a node answers with.
func serves(ctx context.Context, transport *http.Transport, n *lab.Node) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL(), http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Host = hosted
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("node %s: %w", n.Name, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 100))
	if err != nil || res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("node %s answers %d %q (%w)", n.Name, res.StatusCode, body, err)
	}
	return strconv.Atoi(string(body))
}

// staleness is how long after they were accepted nodes served numbers.
type staleness struct {
	stayed samples // nodes that had been up for a while
	back   samples // nodes that had just been started again
	never  int     // numbers that a node did not come to serve
}

// behind adds the numbers that were accepted while the node was up, and that it stayed up
// for.
func (w *watcher) behind(s *staleness, pushes []accepted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, l := range w.lives {
		next := 0
		for _, p := range pushes {
			if p.at.Before(l.from) || p.at.After(l.to) {
				continue
			}
			for next < len(l.served) && l.served[next].number < p.number {
				next++
			}
			if next == len(l.served) {
				if i == len(w.lives)-1 {
					s.never++
				}
				break
			}
			of := &s.stayed
			if i > 0 && p.at.Sub(l.from) < justBack {
				of = &s.back
			}
			of.took = append(of.took, max(0, l.served[next].at.Sub(p.at)))
		}
	}
}

// pusher pushes one number after the other, each until it is accepted.
type pusher struct {
	hubs    []*lab.Node
	clients []*client.Client
	number  int
	pushes  []accepted
	took    samples // from the first attempt until it was accepted
	failed  int     // attempts
}

// next pushes the next number, by way of a hub that is up, and another one if that fails.
func (p *pusher) next(ctx context.Context) {
	p.number++
	start := time.Now()
	for try := p.number; ctx.Err() == nil; try++ {
		if _, up := p.hubs[try%len(p.hubs)].State(); !up {
			elapse(ctx, time.Millisecond)
			continue
		}
		if err := accept(ctx, p.clients[try%len(p.hubs)], strconv.Itoa(p.number)); err != nil {
			p.failed++
			continue
		}
		now := time.Now()
		p.pushes = append(p.pushes, accepted{p.number, now})
		p.took.took = append(p.took.took, now.Sub(start))
		return
	}
}

func (p *pusher) run(ctx, until context.Context) {
	for until.Err() == nil {
		p.next(ctx)
		elapse(until, pushPause)
	}
}

// killer kills a hub, an edge, or one of each, and starts them again, until ctx ends. It
// returns how many it has killed.
func killer(ctx context.Context, l *lab.Lab) (killed int) {
	random := rand.New(rand.NewPCG(1, uint64(len(l.Nodes)))) //nolint:gosec // the same deaths each time
	for ctx.Err() == nil {
		elapse(ctx, time.Duration(200+random.IntN(800))*time.Millisecond)
		victims := [][]*lab.Node{{l.Nodes[random.IntN(hubs)]}, {l.Nodes[hubs+random.IntN(len(l.Nodes)-hubs)]}}
		chosen := victims[random.IntN(2)]
		if random.IntN(3) == 0 {
			chosen = append(victims[0], victims[1]...)
		}
		for _, n := range chosen {
			n.Kill()
		}
		killed += len(chosen)
		elapse(ctx, time.Duration(200+random.IntN(1300))*time.Millisecond)
		l.StartAll(chosen...)
	}
	return killed
}

// watched runs harm while numbers are pushed and all nodes are watched, and adds a row.
func watched(b *testing.B, l *lab.Lab, p *pusher, t *table, lasts time.Duration, harm func(context.Context, *lab.Lab) int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	p.next(ctx) // so that there is something to serve
	l.AwaitMembers(l.Nodes...)
	awaitNumber(b, l, p.number)
	until, over := context.WithTimeout(ctx, lasts)
	defer over()
	p.pushes, p.took, p.failed = nil, samples{}, 0
	var pushing, watching sync.WaitGroup
	var watchers []*watcher
	for _, n := range l.Nodes {
		w := &watcher{node: n}
		watchers = append(watchers, w)
		watching.Go(func() { w.run(ctx) })
	}
	pushing.Go(func() { p.run(ctx, until) })
	killed := harm(until, l)
	pushing.Wait()
	awaitNumber(b, l, p.number)
	elapse(ctx, 10*lookEvery) // all watchers have seen it
	cancel()
	watching.Wait()
	var late staleness
	requests := 0
	for _, w := range watchers {
		w.behind(&late, p.pushes)
		for _, f := range w.failed {
			b.Error(f)
		}
		requests += w.requests
	}
	if late.never > 0 {
		b.Errorf("at the end a node does not serve what was accepted last")
	}
	t.add(killed, len(p.pushes), p.failed, &p.took, &late.stayed, len(late.stayed.took), &late.back, len(late.back.took), requests, load())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(late.stayed.quantile(1).Seconds()*1e3, "stale-max-ms")
}

// awaitNumber waits until all nodes serve a number or a later one.
func awaitNumber(b *testing.B, l *lab.Lab, number int) {
	b.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, n := range l.Nodes {
		until(b, n.Name+" serves what was pushed last", func() bool {
			got, err := serves(b.Context(), transport, n)
			return err == nil && got >= number
		})
	}
}

// newPushed starts a cluster of processes and what pushes to it.
func newPushed(b *testing.B, edges int) (*lab.Lab, *pusher) {
	b.Helper()
	l := lab.New(b, lab.Options{Hubs: hubs, Edges: edges})
	return l, &pusher{hubs: l.Nodes[:hubs], clients: members(b, l)}
}

// BenchmarkStaleness is how long after the cluster has accepted a push nodes serve
// something older: three hubs and three edges, processes of their own, in peace and while
// members are killed by SIGKILL and started again, at random, a hub and an edge at most at
// a time. Each node that is up is asked every hundredth of a second, and must answer.
func BenchmarkStaleness(b *testing.B) {
	t := &table{head: []string{
		"killed", "pushes accepted", "attempts failed", "a push until it is accepted: p50, p99, max", "nodes that stay up are behind by: p50, p99, max", "samples", "nodes just back", "samples", "requests, all answered", "load",
	}}
	for b.Loop() {
		l, p := newPushed(b, 3)
		watched(b, l, p, t, calmLasts, func(ctx context.Context, _ *lab.Lab) int {
			<-ctx.Done()
			return 0
		})
		watched(b, l, p, t, harmLasts, killer)
	}
	t.print(b)
}

// BenchmarkElection is how long a push takes that begins as a hub dies: the hubs are
// killed in turn, until some deaths were of the one that led the register.
func BenchmarkElection(b *testing.B) {
	t := &table{head: []string{"the hub that died", "deaths", "a push until it is accepted: p50, p99, max", "load"}}
	for b.Loop() {
		l, p := newPushed(b, 0)
		var leader, other samples
		for death := 0; death < mostDeaths && len(leader.took) < elections; death++ {
			p.next(b.Context())
			l.AwaitMembers(l.Nodes...)
			awaitNumber(b, l, p.number)
			victim := l.Nodes[death%hubs]
			victim.Kill()
			p.took = samples{}
			p.next(b.Context())
			if len(p.took.took) == 0 {
				b.Fatal("a push was not accepted")
			}
			of := &other
			if p.took.took[0] >= elected {
				of = &leader
			}
			of.took = append(of.took, p.took.took...)
			victim.Start()
		}
		t.add("led the register", len(leader.took), &leader, load())
		t.add("did not", len(other.took), &other, load())
	}
	t.print(b)
}
