package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/orla-edge/orla/internal/sim"
)

const (
	// Payload is the bytes of a change: a head names a release, it does not contain it.
	Payload = 1024
	// ackPayload is those of an acknowledgement: node, head, revision, time.
	ackPayload = 160

	// MinEdges is how many edges there must be, so that a hub has enough of them to
	// fit a line.
	MinEdges = 96

	sent  = 150 // changes for each cost
	every = 8 * time.Millisecond
	// perFrame is the rest of a message on the wire, subject and headers included.
	perFrame = 150
)

// Config says how to start children, and where to tell what is going on.
type Config struct {
	Args   []string // that make this program call [Serve]
	Edges  int      // for real; at least MinEdges
	Report func(string)
}

// Run measures the costs, then plays changes for real.
func Run(ctx context.Context, cfg Config) (p sim.Params, checks []Check, err error) {
	p = sim.Params{Cores: runtime.NumCPU(), Payload: Payload, Commits: map[int]sim.Samples{}}
	if cfg.Edges < MinEdges {
		return p, nil, fmt.Errorf("measure with %d edges: want at least %d", cfg.Edges, MinEdges)
	}
	cfg.Report(fmt.Sprintf("three hubs and %d edges", cfg.Edges))
	r, err := startRig(ctx, cfg.Args, 3)
	if err != nil {
		return p, nil, err
	}
	defer func() {
		if e := r.close(); err == nil {
			err = e
		}
	}()
	steps := []struct {
		name string
		do   func(context.Context, *rig, *sim.Params) error
	}{
		{"copies and acknowledgements", copies},
		{"commits", commits},
		{"looks at the stream", polls},
		{"saves", saves},
	}
	cfg.Report("memory and connections")
	if err := connections(ctx, r, cfg.Edges, &p); err != nil {
		return p, nil, fmt.Errorf("measure connections: %w", err)
	}
	for _, s := range steps {
		cfg.Report(s.name)
		if err := s.do(ctx, r, &p); err != nil {
			return p, nil, fmt.Errorf("measure %s: %w", s.name, err)
		}
	}
	cfg.Report("100 changes for real")
	if checks, err = compare(ctx, r, p); err != nil {
		return p, nil, err
	}
	cfg.Report("the death of a leader")
	if err := death(ctx, r, &p); err != nil {
		return p, nil, err
	}
	cfg.Report("five hubs")
	return p, checks, five(ctx, cfg, &p)
}

// connections measures what a leaf connection costs a hub, and what an edge takes.
func connections(ctx context.Context, r *rig, edges int, p *sim.Params) error {
	before, err := r.hubs[0].ask(request{Op: "stat"})
	if err != nil {
		return err
	}
	s, err := r.cost(func() error { return r.addEdges(ctx, edges) })
	if err != nil {
		return err
	}
	after, err := r.hubs[0].ask(request{Op: "stat"})
	if err != nil {
		return err
	}
	leaves := int64((edges + len(r.hubs) - 1) / len(r.hubs))
	p.HubConnect = s.hubs / time.Duration(edges)
	p.HubMemory = before.RSS
	p.LeafMemory = max(0, after.Used-before.Used) / leaves
	return r.edgeMemory(ctx, p)
}

// edgeMemory measures a lone edge in a process of its own.
func (r *rig) edgeMemory(ctx context.Context, p *sim.Params) error {
	c, err := launch(ctx, r.args, serverOptions{Name: "lone", Dir: r.dir, Remotes: []string{r.hubs[0].leaf}})
	if err != nil {
		return err
	}
	if err := c.ready(); err != nil {
		return err
	}
	s, err := c.ask(request{Op: "stat"})
	p.EdgeMemory = s.RSS
	if e := c.close(); err == nil {
		err = e
	}
	return err
}

// fits is to how many edges of one hub changes are sent to fit a line through what
// they cost.
var fits = []int{1, 8, 32}

func fitSubject(k int) string { return fmt.Sprintf("fit.%d", k) }

// copies measures what it costs a hub and the edges to bring a change to k edges,
// with acknowledgements and without.
func copies(ctx context.Context, r *rig, p *sim.Params) error {
	idle, err := r.cost(func() error { pause(ctx, time.Second); return nil })
	if err != nil {
		return err
	}
	var hub, own []time.Duration
	for _, k := range fits {
		s, err := r.publish(k, false, idle)
		if err != nil {
			return err
		}
		hub, own = append(hub, s.first/sent), append(own, s.own/sent)
		if k == 1 {
			p.Hop = after(r.edges[0].take())
		}
	}
	p.HubReceive, p.HubCopy = line(fits, hub)
	_, p.EdgeApply = line(fits, own)
	for i, d := range p.Hop {
		p.Hop[i] = max(0, d-p.HubReceive-p.HubCopy-p.EdgeApply)
	}
	k := fits[len(fits)-1]
	if _, err := r.hubs[0].ask(request{Op: "collect", Count: k}); err != nil {
		return err
	}
	before, err := r.hubs[0].ask(request{Op: "stat"})
	if err != nil {
		return err
	}
	s, err := r.publish(k, true, idle)
	if err != nil {
		return err
	}
	after, err := r.hubs[0].ask(request{Op: "stat"})
	if err != nil {
		return err
	}
	each := time.Duration(sent * k)
	p.HubAck = max(0, s.first-hub[len(hub)-1]*sent) / each
	p.EdgeAck = max(0, s.own-own[len(own)-1]*sent) / each
	p.ChangeBytes, p.AckBytes = int((after.Out-before.Out)/int64(each)), ackPayload+perFrame
	return nil
}

// publish sends changes to k edges of the first hub.
func (r *rig) publish(k int, ack bool, idle spend) (spend, error) {
	for _, e := range r.edges {
		e.take()
	}
	s, err := r.cost(func() error {
		_, err := r.hubs[0].ask(request{Op: "publish", Subject: fitSubject(k), Count: sent, Every: every, Ack: ack})
		return err
	})
	return s.minus(idle), err
}

func after(all []seen) sim.Samples {
	var s sim.Samples
	for _, one := range all {
		s = append(s, one.after)
	}
	return s
}

// line fits y = a + b·x by least squares; neither is below 0.
func line(x []int, y []time.Duration) (a, b time.Duration) {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		fx, fy := float64(x[i]), float64(y[i])
		sx, sy, sxx, sxy = sx+fx, sy+fy, sxx+fx*fx, sxy+fx*fy
	}
	slope := (n*sxy - sx*sy) / (n*sxx - sx*sx)
	return max(0, time.Duration((sy-slope*sx)/n)), max(0, time.Duration(slope))
}

// commits measures writes that no edge listens to: the edges are told of another
// subject than the stream's.
func commits(_ context.Context, r *rig, p *sim.Params) error {
	s, err := r.hubs[0].ask(request{Op: "put", Subject: "kv.quiet", Count: sent, Every: every})
	p.Commits[len(r.hubs)] = s.Took
	return err
}

// polls measures what a look at the stream costs the hubs.
func polls(ctx context.Context, r *rig, p *sim.Params) error {
	idle, err := r.cost(func() error { pause(ctx, time.Second); return nil })
	if err != nil {
		return err
	}
	api := "$JS." + domain + ".API."
	if p.HubPoll, err = r.request(api+"STREAM.INFO."+streamName, "", idle); err != nil {
		return err
	}
	p.HubRead, err = r.request(api+"DIRECT.GET."+streamName, `{"last_by_subj":"kv.quiet"}`, idle)
	return err
}

// request measures what it costs all hubs to answer a request of an edge, which is
// known to them from an earlier one.
func (r *rig) request(subject, body string, idle spend) (time.Duration, error) {
	ask := func(times int) error {
		for i := range times {
			if _, err := r.edges[i%len(r.edges)].nc.Request(subject, []byte(body), 5*time.Second); err != nil {
				return err
			}
		}
		return nil
	}
	if err := ask(len(r.edges)); err != nil {
		return 0, err
	}
	s, err := r.cost(func() error { return ask(2 * sent) })
	return s.minus(idle).hubs / (2 * sent), err
}

// saves measures a state of 64 KiB brought safely to disk.
func saves(_ context.Context, r *rig, p *sim.Params) error {
	b := make([]byte, 64<<10)
	for range 50 {
		start := time.Now()
		if err := save(r.dir, b); err != nil {
			return err
		}
		p.Save = append(p.Save, time.Since(start))
	}
	return nil
}

func save(dir string, b []byte) error {
	temp := filepath.Join(dir, "state.tmp")
	f, err := os.Create(temp) //nolint:gosec // a file of ours
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // synced below
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, "state")); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // a folder of ours
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // read only
	return d.Sync()
}
