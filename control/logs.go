package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

const (
	// recentIn is how long a reader waits for the recent records of all nodes.
	recentIn = time.Second
	// mergeEvery is for how long records wait for older ones of other nodes.
	mergeEvery = 150 * time.Millisecond
	// renewEvery is how often a reader tells the nodes that it is still there.
	renewEvery = 2 * time.Second
	// maxTailed bounds the answers that wait for a reader.
	maxTailed = 1024
)

// TailLogs implements the API.
func (s *Service) TailLogs(ctx context.Context, req *connect.Request[orlav1.TailLogsRequest], stream *connect.ServerStream[orlav1.TailLogsResponse]) error {
	name, node := req.Msg.GetName(), req.Msg.GetNode()
	if head, _ := s.catalog.head(name); head == nil {
		return s.noSuch(name, orlav1.Kind_KIND_UNSPECIFIED)
	}
	others, err := s.logsOf(node)
	if err != nil {
		return err
	}
	r := &logReader{s: s, ctx: ctx, req: req.Msg, send: stream.Send, id: rand.Text(), in: make(chan *orlav1.Tailed, maxTailed), waiting: others}
	if others == nil && node == "" && !s.cfg.Register.Alone() {
		r.remark(s.cfg.Node, "no hub can be asked for the logs of the other nodes: these are this node's")
	}
	return r.run()
}

// logsOf returns the other nodes to ask for their logs; nil: none is to be asked.
func (s *Service) logsOf(node string) (map[string]bool, error) {
	if node == s.cfg.Node || node == "" && (s.cfg.Register.Alone() || !s.hub()) {
		return nil, nil
	}
	if node == "" {
		others := map[string]bool{}
		for _, h := range s.members.present(s.cfg.Node) {
			others[h.GetNode()] = true
		}
		return others, nil
	}
	h, ok := s.members.get(node)
	switch {
	case !s.hub():
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("no hub can be asked for the log of %q; this node can only show its own", node))
	case !ok:
		return nil, s.noSuchNode(node)
	case h.lost(time.Now()):
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("node %q has not been heard of for a while; see `orla nodes`", node))
	}
	return map[string]bool{node: true}, nil
}

// logReader is one TailLogs call.
type logReader struct {
	s    *Service
	ctx  context.Context //nolint:containedctx // the call's own
	req  *orlav1.TailLogsRequest
	send func(*orlav1.TailLogsResponse) error
	id   string

	in      chan *orlav1.Tailed
	dropped atomic.Int64    // answers for which there was no room
	waiting map[string]bool // other nodes whose recent records are to come; nil: none is asked
	told    map[string]bool // whose have come

	pending []arrival
	failed  error // of send
}

// arrival is a record that waits for older ones.
type arrival struct {
	*orlav1.TailLogsResponse
	at time.Time
}

// run sends recent records, then, if that is asked for, new ones.
func (r *logReader) run() error {
	var own <-chan telemetry.Record // nil: none, or not followed
	var recent []*orlav1.TailLogsResponse
	if node := r.req.GetNode(); node == "" || node == r.s.cfg.Node {
		var records []telemetry.Record
		if r.req.GetFollow() {
			var cancel func()
			records, own, cancel = r.s.cfg.Tail.Follow(r.req.GetName(), int(r.req.GetLines()))
			defer cancel()
		} else {
			records = r.s.cfg.Tail.Recent(r.req.GetName(), int(r.req.GetLines()))
		}
		for _, record := range records {
			recent = append(recent, r.s.record(record))
		}
	}
	if r.waiting != nil {
		defer r.s.cfg.Register.Listen(cluster.Hubs, topicLog+r.id, r.hear)()
		defer r.s.send(cluster.All, topicUntail, &orlav1.Untail{Id: r.id})
		recent = append(recent, r.recent()...)
	}
	byTime(recent)
	for _, record := range recent[max(0, len(recent)-int(r.req.GetLines())):] {
		r.deliver(record)
	}
	for name := range r.waiting {
		r.remark(name, "the node has not answered in time")
	}
	if !r.req.GetFollow() {
		return r.failed
	}
	r.deliver(&orlav1.TailLogsResponse{}) // so that the client knows that it is listening
	return r.follow(own)
}

// hear takes an answer of another node. It never waits: other messages come after it.
func (r *logReader) hear(m cluster.Message) {
	t, err := decode[orlav1.Tailed](m.Data)
	if err != nil || t.GetNode() == r.s.cfg.Node {
		return
	}
	select {
	case r.in <- t:
	default:
		r.dropped.Add(int64(len(t.GetRecords())))
	}
}

// ask asks the other nodes, or tells them to go on.
func (r *logReader) ask() {
	ask := &orlav1.Tail{Id: r.id, App: r.req.GetName(), Origin: r.s.cfg.Node, Node: r.req.GetNode(), Lines: r.req.GetLines()}
	if r.req.GetFollow() {
		ask.HoldMs = uint32(holdTail.Milliseconds())
	}
	r.s.send(cluster.All, topicTail, ask)
}

// recent returns the recent records of the other nodes. Those that have not answered in
// time are left in waiting.
func (r *logReader) recent() (records []*orlav1.TailLogsResponse) {
	r.told = map[string]bool{}
	r.ask()
	again := time.NewTicker(recentIn / 3)
	defer again.Stop()
	limit := time.NewTimer(recentIn)
	defer limit.Stop()
	for len(r.waiting) > 0 {
		select {
		case t := <-r.in:
			if r.told[t.GetNode()] { // of the time since
				r.take(t)
				continue
			}
			for _, record := range t.GetRecords() {
				record.Node = t.GetNode()
				records = append(records, record)
			}
			if t.GetRecent() {
				r.told[t.GetNode()] = true
				delete(r.waiting, t.GetNode())
			}
		case <-again.C:
			r.ask() // a message may be lost
		case <-limit.C:
			return records
		case <-r.ctx.Done():
			return records
		}
	}
	return records
}

// take has the records of an answer wait for older ones. What a node answers again, to a
// question that was asked again, it says in vain.
func (r *logReader) take(t *orlav1.Tailed) {
	if t.GetBeginning() && r.told[t.GetNode()] {
		return
	}
	if t.GetRecent() {
		r.told[t.GetNode()] = true
	}
	now := time.Now()
	for _, record := range t.GetRecords() {
		record.Node = t.GetNode()
		r.pending = append(r.pending, arrival{record, now})
	}
}

// follow sends new records until the reader has gone.
func (r *logReader) follow(own <-chan telemetry.Record) error {
	merge, renew := time.NewTicker(mergeEvery), time.NewTicker(renewEvery)
	defer merge.Stop()
	defer renew.Stop()
	if r.waiting == nil { // nobody else to wait for
		merge.Stop()
		renew.Stop()
	}
	for r.failed == nil {
		select {
		case <-r.ctx.Done():
			return nil
		case <-r.s.stopped:
			return nil
		case record, ok := <-own:
			switch {
			case !ok: // the app is gone
				return nil
			case r.waiting == nil:
				r.deliver(r.s.record(record))
			default:
				r.pending = append(r.pending, arrival{r.s.record(record), time.Now()})
			}
		case t := <-r.in:
			r.take(t)
		case now := <-merge.C:
			r.merge(now)
		case <-renew.C:
			r.ask()
		}
	}
	return r.failed
}

// merge sends what has waited for long enough, and what is older than that.
func (r *logReader) merge(now time.Time) {
	slices.SortStableFunc(r.pending, func(a, b arrival) int { return a.GetTime().AsTime().Compare(b.GetTime().AsTime()) })
	ripe := 0
	for i, a := range r.pending {
		if now.Sub(a.at) >= mergeEvery {
			ripe = i + 1
		}
	}
	for _, a := range r.pending[:ripe] {
		r.deliver(a.TailLogsResponse)
	}
	r.pending = slices.Delete(r.pending, 0, ripe)
	if n := r.dropped.Swap(0); n > 0 {
		r.remark(r.s.cfg.Node, fmt.Sprintf("dropped %d records of other nodes: they came faster than they could be sent on", n))
	}
}

func (r *logReader) deliver(record *orlav1.TailLogsResponse) {
	if r.failed == nil {
		r.failed = r.send(record)
	}
}

// remark tells the reader something that is in no log.
func (r *logReader) remark(node, text string) {
	r.deliver(&orlav1.TailLogsResponse{Time: timestamppb.Now(), Level: "WARN", Message: text, Node: node})
}

func byTime(records []*orlav1.TailLogsResponse) {
	slices.SortStableFunc(records, func(a, b *orlav1.TailLogsResponse) int {
		return cmp.Or(a.GetTime().AsTime().Compare(b.GetTime().AsTime()), cmp.Compare(a.GetNode(), b.GetNode()))
	})
}

func (s *Service) record(r telemetry.Record) *orlav1.TailLogsResponse {
	out := &orlav1.TailLogsResponse{Time: timestamppb.New(r.Time), Level: r.Level.String(), Message: r.Message, Node: s.cfg.Node}
	for _, a := range r.Attrs {
		out.Attributes = append(out.Attributes, &orlav1.Field{Name: a.Key, Value: a.Value})
	}
	return out
}
