//go:build linux

package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// probeEvery is how often each node is asked.
	probeEvery = 20 * time.Millisecond
	// maxFailures is how many failures are kept; more are counted.
	maxFailures = 50
)

// Failure is a request that did not go as it should.
type Failure struct {
	Time time.Time // when the request began
	Took time.Duration
	Node string
	Err  error
}

// Prober asks every node for the same path, again and again, each time by a new
// connection, and records what fails. A node that the test has killed, stopped or paused
// is not asked until it is back.
type Prober struct {
	path     string
	check    func(n *Node, status int, body string) error
	stop     context.CancelFunc
	running  sync.WaitGroup
	requests atomic.Int64

	mu       sync.Mutex // guards what follows
	failures []Failure
	dropped  int
}

// Probe starts a prober, which goes on until it is stopped or the test ends. check is
// called for every answer, with the answers of one node one at a time and those of
// several concurrently; its error makes the request a failure.
func (l *Lab) Probe(path string, check func(n *Node, status int, body string) error) *Prober {
	ctx, stop := context.WithCancel(context.WithoutCancel(l.t.Context()))
	p := &Prober{path: path, check: check, stop: stop}
	for _, n := range l.Nodes {
		p.running.Go(func() { p.run(ctx, n) })
	}
	l.t.Cleanup(func() {
		stop()
		p.running.Wait()
	})
	return p
}

func (p *Prober) run(ctx context.Context, n *Node) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.ask(ctx, n)
	}
}

// ask sends one request. It does not count if the node was brought down meanwhile.
func (p *Prober) ask(ctx context.Context, n *Node) {
	before, up := n.state()
	if !up {
		return
	}
	begin := time.Now()
	status, body, err := get(ctx, n.URL()+p.path)
	if err == nil {
		err = p.check(n, status, body)
	}
	if after, _ := n.state(); after != before || ctx.Err() != nil {
		return
	}
	p.requests.Add(1)
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failures) == maxFailures {
		p.dropped++
		return
	}
	p.failures = append(p.failures, Failure{Time: begin, Took: time.Since(begin), Node: n.Name, Err: err})
}

// Requests returns how many have been sent to nodes that were up.
func (p *Prober) Requests() int64 { return p.requests.Load() }

// Stop ends the prober and returns an error that names what has failed, nil if nothing
// has, or nothing was asked.
func (p *Prober) Stop() error {
	p.stop()
	p.running.Wait()
	failures, dropped := p.Failures()
	if p.requests.Load() == 0 {
		return fmt.Errorf("GET %s: no request has been sent", p.path)
	}
	if len(failures) == 0 {
		return nil
	}
	var text strings.Builder
	for _, f := range failures {
		fmt.Fprintf(&text, "\n%s %s after %s: %v", f.Time.Format("15:04:05.000"), f.Node, f.Took.Round(time.Millisecond), f.Err)
	}
	return fmt.Errorf("GET %s: %d of %d requests failed:%s", p.path, len(failures)+dropped, p.requests.Load(), text.String())
}

// Failures returns the first failures, and how many more there were.
func (p *Prober) Failures() (first []Failure, more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Failure(nil), p.failures...), p.dropped
}
