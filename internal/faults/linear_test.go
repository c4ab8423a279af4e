//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/anishathalye/porcupine"

	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// history is what clients have seen, while they go on.
type history struct {
	s      *scene
	start  time.Time
	pushes atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

const (
	registerClients = 6
	// pushesPerSet keeps a set's history within what a head remembers, pushes that are on
	// their way included.
	pushesPerSet = 80
)

// TestLinearizable: clients push onto what they have read, roll back and read, by way of
// all hubs, while hubs are killed, paused and cut off. What they see is what they would
// see of one head, changed by one of them at a time.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3})
	h := &history{s: s, start: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for id := range registerClients {
		clients.Go(func() { h.client(ctx, id) })
	}
	rounds := 1
	if long() {
		rounds = 10
	}
	for range rounds {
		for i, n := range s.Nodes {
			others := []*lab.Node{s.Nodes[(i+1)%3], s.Nodes[(i+2)%3]}
			h.more(20)
			s.Partition([]*lab.Node{n}, others)
			elapse(t, 5*time.Second)
			s.Heal()
			h.more(20)
			n.Pause()
			elapse(t, 3*time.Second)
			n.Resume()
			h.more(20)
			n.Kill()
			h.more(5)
			n.Start()
		}
	}
	h.more(20)
	stop()
	clients.Wait()
	s.finish()
	h.check()
}

// more waits for so many more operations whose outcome is known.
func (h *history) more(count int) {
	h.s.t.Helper()
	known := func() (n int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, op := range h.ops {
			if op.Output.(output).verdict != unknown { //nolint:forcetypeassert // of ours
				n++
			}
		}
		return n
	}
	before := known()
	h.s.await("clients go on", func() error {
		if n := known() - before; n < count {
			return fmt.Errorf("%d of %d operations", n, count)
		}
		return nil
	})
}

// client does one thing after the other, until ctx ends.
func (h *history) client(ctx context.Context, id int) {
	var saw output // of the last read or change
	for ctx.Err() == nil {
		n := h.s.Nodes[rand.IntN(len(h.s.Nodes))]
		if _, up := n.State(); !up && rand.IntN(10) > 0 {
			n = h.s.Nodes[rand.IntN(len(h.s.Nodes))]
		}
		in := input{set: fmt.Sprintf("register-%d", h.pushes.Load()/pushesPerSet)}
		switch p := rand.IntN(10); {
		case p < 3:
			in.kind, in.expect = opPush, saw.live
			in.text = fmt.Sprintf("client %d, push %d", id, h.pushes.Add(1))
		case p < 5 && saw.last > 1:
			in.kind, in.target = opRollback, 1+rand.Uint64N(saw.last)
		}
		// A call that has begun is waited for, so that it has an outcome.
		out := h.call(context.WithoutCancel(ctx), id, n, in)
		if out.verdict == done {
			saw.live, saw.last = out.live, max(saw.last, out.last, out.live)
			if in.kind == opRead {
				saw.last = out.last
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(30 * time.Millisecond)):
		}
	}
}

// call calls a node and adds the operation to the history.
func (h *history) call(ctx context.Context, id int, n *lab.Node, in input) output {
	op := porcupine.Operation{ClientId: id, Input: in, Call: int64(time.Since(h.start))}
	var out output
	switch in.kind {
	case opRead:
		out = h.read(ctx, n, in)
	case opPush:
		out = h.push(ctx, n, in)
	case opRollback:
		out = h.rollback(ctx, n, in)
	}
	op.Output, op.Return = out, int64(time.Since(h.start))
	if out.verdict == unknown {
		op.Return = forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	return out
}

// readTimeout is longer than a node waits for the register.
const readTimeout = 10 * time.Second

func (h *history) read(ctx context.Context, n *lab.Node, in input) output {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	res, err := h.s.clients[n].Control().GetApp(ctx, connect.NewRequest(&orlav1.GetAppRequest{Name: in.set, Consistent: true}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return output{}
	}
	if err != nil {
		return output{verdict: unknown}
	}
	app := res.Msg.GetApp()
	out := output{live: app.GetHead().GetLive(), revision: app.GetRevision()}
	for _, r := range app.GetHead().GetReleases() {
		out.last = max(out.last, r.GetNumber())
		if r.GetNumber() == out.live {
			out.text = r.GetMessage()
		}
	}
	return out
}

func (h *history) push(ctx context.Context, n *lab.Node, in input) output {
	live, err := deploy(ctx, h.s.clients[n], &orlav1.DeployRequest{
		Manifest: answering(in.set, in.text), Message: in.text, ExpectLive: &in.expect, Rollout: eager(),
	})
	if err != nil {
		return outcome(err)
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.acked = append(h.s.acked, push{in.set, in.text, live.GetRelease()})
	return output{live: live.GetRelease(), last: live.GetRelease()}
}

func (h *history) rollback(ctx context.Context, n *lab.Node, in input) output {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	res, err := h.s.clients[n].Control().Rollback(ctx, connect.NewRequest(&orlav1.RollbackRequest{Name: in.set, Release: in.target, Rollout: eager()}))
	if err != nil {
		return outcome(err)
	}
	return output{live: res.Msg.GetLive().GetRelease()}
}

// outcome reads an error: what is no refusal may have been done all the same.
func outcome(err error) output {
	switch connect.CodeOf(err) { //nolint:exhaustive // the others are errors
	case connect.CodeAborted, connect.CodeFailedPrecondition, connect.CodeNotFound:
	default:
		return output{verdict: unknown}
	}
	named := regexp.MustCompile(`release (\d+) of "[^"]*" is live( already|, not)`).FindStringSubmatch(err.Error())
	if named == nil {
		return output{verdict: refused, live: nobody}
	}
	live, err := strconv.ParseUint(named[1], 10, 64)
	if err != nil {
		return output{verdict: unknown}
	}
	return output{verdict: refused, live: live}
}

// check checks the history, and that it would not pass with what must not be planted in
// it: the checker has seen enough to tell.
func (h *history) check() {
	t := h.s.t
	t.Helper()
	made := map[string]bool{}
	for _, head := range h.s.heads(h.s.Nodes[0]) {
		for _, r := range head.GetReleases() {
			made[r.GetMessage()] = true
		}
	}
	ops := settled(h.ops, made)
	if err := check(ops); err != nil {
		t.Error(err)
		h.dump(ops)
	}
	count := map[verdict]int{}
	for _, op := range h.ops {
		count[op.Output.(output).verdict]++ //nolint:forcetypeassert // of ours
	}
	t.Logf("%d operations: %d done, %d refused, %d unknown", len(h.ops), count[done], count[refused], count[unknown])
	if err := checkIn(5*time.Second, append(ops, h.staleRead())); err == nil {
		t.Error("a stale read, planted in the history, is not found")
	}
	if err := checkIn(5*time.Second, append(ops, h.lostUpdate())); err == nil {
		t.Error("a lost compare-and-set, planted in the history, is not found")
	}
}

// staleRead is the first read of a head that was changed, once more at the end.
func (h *history) staleRead() porcupine.Operation {
	for _, op := range h.ops {
		if in, out := op.Input.(input), op.Output.(output); in.kind == opRead && out.verdict == done && out.live > 0 && in.set == "register-0" { //nolint:forcetypeassert // of ours
			return h.late(in, out)
		}
	}
	h.s.t.Fatal("nothing was read")
	return porcupine.Operation{}
}

// lostUpdate is a push onto a release that has a successor, acknowledged at the end.
func (h *history) lostUpdate() porcupine.Operation {
	for _, op := range h.ops {
		if in, out := op.Input.(input), op.Output.(output); in.kind == opPush && out.verdict == done && in.set == "register-0" { //nolint:forcetypeassert // of ours
			in.text += ", once more"
			return h.late(in, out)
		}
	}
	h.s.t.Fatal("nothing was pushed")
	return porcupine.Operation{}
}

func (h *history) late(in input, out output) porcupine.Operation {
	now := int64(time.Since(h.start))
	return porcupine.Operation{ClientId: registerClients, Input: in, Output: out, Call: now, Return: now + 1}
}

// dump writes the history out for who has to find out what went wrong.
func (h *history) dump(ops []porcupine.Operation) {
	for _, op := range ops {
		h.s.t.Logf("%d: %d-%d %+v -> %+v", op.ClientId, op.Call/1e6, op.Return/1e6, op.Input, op.Output)
	}
}
