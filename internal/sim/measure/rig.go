package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// rig is a cluster of hubs on loopback, and edges below them.
type rig struct {
	dir   string
	args  []string // that make this program a child
	hubs  []*child // the stream's leader first
	edges []*edge
	relay *child
}

// startRig starts hubs and makes the stream.
func startRig(ctx context.Context, args []string, hubs int) (r *rig, err error) {
	r = &rig{args: args}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.dir, err = os.MkdirTemp("", "orla-sim-"); err != nil {
		return r, fmt.Errorf("make folder: %w", err)
	}
	if err = makeIdentity(r.dir); err != nil {
		return r, err
	}
	ports, err := freePorts(ctx, hubs)
	if err != nil {
		return r, err
	}
	for i, port := range ports {
		o := serverOptions{Name: fmt.Sprintf("hub%d", i), Dir: r.dir, Route: port, Routes: ports, Accept: true}
		c, err := launch(ctx, args, o)
		if err != nil {
			return r, err
		}
		r.hubs = append(r.hubs, c)
	}
	for _, c := range r.hubs {
		if err = c.ready(); err != nil {
			return r, err
		}
	}
	if _, err = r.hubs[0].ask(request{Op: "stream", Replicas: hubs}); err != nil {
		return r, err
	}
	return r, r.lead()
}

// lead puts the stream's leader first among the hubs.
func (r *rig) lead() error {
	l, err := r.hubs[0].ask(request{Op: "leader"})
	if err != nil {
		return err
	}
	for i, c := range r.hubs {
		if c.name == l.Name {
			r.hubs[0], r.hubs[i] = r.hubs[i], r.hubs[0]
			return nil
		}
	}
	return fmt.Errorf("the stream has no leader among %d hubs: %q", len(r.hubs), l.Name)
}

// freePorts finds ports that members of a cluster can be told of before they start.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	for range n {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() //nolint:errcheck // held until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// at returns the hub of the i-th edge.
func (r *rig) at(i int) *child { return r.hubs[i%len(r.hubs)] }

// addEdges starts n edges, spread over the hubs in turn, and waits until the hubs
// know what they want. The k-th edge of the first hub listens to what is sent to
// fewer than k edges there.
func (r *rig) addEdges(ctx context.Context, n int) error {
	r.edges = make([]*edge, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	places := make(chan struct{}, 4)
	for i := range n {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			o := serverOptions{Name: fmt.Sprintf("edge%d", i), Dir: r.dir}
			for k := range r.hubs {
				o.Remotes = append(o.Remotes, r.at(i+k).leaf)
			}
			subjects := []string{live}
			if i%len(r.hubs) == 0 {
				for _, k := range fits {
					if i/len(r.hubs) < k {
						subjects = append(subjects, fitSubject(k))
					}
				}
			}
			r.edges[i], errs[i] = startEdge(o.Name, o, subjects...)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.connected(ctx)
}

// connected waits until each edge has got a change that was sent to all.
func (r *rig) connected(ctx context.Context) error {
	for {
		if _, err := r.hubs[0].ask(request{Op: "publish", Subject: "rt.hello", Count: 1, Every: 10 * time.Millisecond}); err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
		missing := 0
		for _, e := range r.edges {
			if len(e.take()) == 0 {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %d of %d edges: %w", missing, len(r.edges), ctx.Err())
		}
	}
}

// used is processor time: of each hub, and of this process.
func (r *rig) used() (hubs []time.Duration, own time.Duration, err error) {
	for _, c := range r.hubs {
		s, err := c.ask(request{Op: "cpu"})
		if err != nil {
			return nil, 0, err
		}
		hubs = append(hubs, s.CPU)
	}
	return hubs, processorTime(), nil
}

// spend is what a piece of work cost.
type spend struct {
	first, hubs, own time.Duration // the first hub, all hubs, this process
	wall             time.Duration
}

// minus takes off what would have been spent anyway, from that of an idle time.
func (s spend) minus(idle spend) spend {
	part := float64(s.wall) / float64(idle.wall)
	less := func(a, b time.Duration) time.Duration { return max(0, a-time.Duration(part*float64(b))) }
	return spend{less(s.first, idle.first), less(s.hubs, idle.hubs), less(s.own, idle.own), s.wall}
}

// cost does something and tells what it cost.
func (r *rig) cost(do func() error) (spend, error) {
	before, ownBefore, err := r.used()
	if err != nil {
		return spend{}, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return spend{}, err
	}
	wall := time.Since(start)
	after, ownAfter, err := r.used()
	if err != nil {
		return spend{}, err
	}
	s := spend{first: after[0] - before[0], own: ownAfter - ownBefore, wall: wall}
	for i := range after {
		s.hubs += after[i] - before[i]
	}
	return s, nil
}

// close ends all and removes the folder.
func (r *rig) close() error {
	var errs []error
	for _, e := range r.edges {
		if e != nil {
			e.close()
		}
	}
	if r.relay != nil {
		errs = append(errs, r.relay.close())
	}
	for _, c := range r.hubs {
		errs = append(errs, c.close())
	}
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}
