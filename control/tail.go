package control

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

const (
	// holdTail is for how long a node goes on for a reader that is not heard of.
	holdTail = 6 * time.Second
	maxHold  = 30 * time.Second
	// maxTails bounds the readers that a node sends its logs to.
	maxTails = 32
	// flushEvery is how often it sends what there is.
	flushEvery = 100 * time.Millisecond

	// A node sends a reader at most so much in a second, and in a message.
	tailRecords  = 500
	tailBytes    = 512 << 10
	messageBytes = 256 << 10
)

// tails are the readers that a node sends its logs to.
type tails struct {
	mu   sync.Mutex // guards open
	open map[string]*tailing
}

// tailing is one reader.
type tailing struct {
	cancel context.CancelFunc
	end    *time.Timer // calls cancel; reset when the reader is heard of
}

// onTail begins to send an app's log to a hub, or goes on.
func (s *Service) onTail(ctx context.Context, m cluster.Message) {
	ask, err := decode[orlav1.Tail](m.Data)
	if err != nil || ask.GetOrigin() == s.cfg.Node || ask.GetNode() != "" && ask.GetNode() != s.cfg.Node || !plainToken(ask.GetId()) {
		return
	}
	hold := min(time.Duration(ask.GetHoldMs())*time.Millisecond, maxHold)
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	if t := s.tails.open[ask.GetId()]; t != nil {
		t.end.Reset(hold)
		return
	}
	if len(s.tails.open) >= maxTails {
		s.cfg.Logger.Warn("log not sent: it has too many readers", "app", ask.GetApp(), "count", maxTails)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &tailing{cancel: cancel, end: time.AfterFunc(max(hold, flushEvery), cancel)}
	if s.tails.open == nil {
		s.tails.open = map[string]*tailing{}
	}
	s.tails.open[ask.GetId()] = t
	s.background.Go(func() {
		defer s.untail(ask.GetId(), t)
		s.tellLog(ctx, ask)
	})
}

func (s *Service) onUntail(m cluster.Message) {
	u, err := decode[orlav1.Untail](m.Data)
	if err != nil {
		return
	}
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	if t := s.tails.open[u.GetId()]; t != nil {
		t.cancel()
	}
}

func (s *Service) untail(id string, t *tailing) {
	t.end.Stop()
	t.cancel()
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	delete(s.tails.open, id)
}

// plainToken reports whether id can be a token of a topic.
func plainToken(id string) bool {
	const longest = 64
	return id != "" && len(id) <= longest && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// tellLog sends recent records, then new ones until ctx ends.
func (s *Service) tellLog(ctx context.Context, ask *orlav1.Tail) {
	out := &outbox{tell: func(t *orlav1.Tailed) {
		t.Node = s.cfg.Node
		s.send(cluster.Hubs, topicLog+ask.GetId(), t)
	}}
	var live <-chan telemetry.Record
	var recent []telemetry.Record
	if ask.GetHoldMs() > 0 {
		var cancel func()
		recent, live, cancel = s.cfg.Tail.Follow(ask.GetApp(), int(ask.GetLines()))
		defer cancel()
	} else {
		recent = s.cfg.Tail.Recent(ask.GetApp(), int(ask.GetLines()))
	}
	out.beginning = true
	for _, r := range recent {
		out.add(s.record(r))
	}
	out.flush(true)
	out.beginning = false
	if live == nil {
		return
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r, ok := <-live:
			if !ok {
				return
			}
			out.offer(s.record(r), time.Now())
		case now := <-tick.C:
			out.remark(s.cfg.Node, now)
			out.flush(false)
		}
	}
}

// outbox gathers records into messages, so many and no more.
type outbox struct {
	tell      func(*orlav1.Tailed)
	beginning bool // the records are recent ones, not new

	records []*orlav1.TailLogsResponse
	bytes   int

	second        time.Time // when the present second began
	count, volume int       // of its records
	dropped       int       // since they were last told of
}

// add takes a record, and sends what there is if that is enough for a message.
func (o *outbox) add(r *orlav1.TailLogsResponse) {
	size := proto.Size(r)
	if o.bytes+size > messageBytes {
		o.flush(false)
	}
	o.records = append(o.records, r)
	o.bytes += size
}

// offer adds a new record unless there have been too many in this second.
func (o *outbox) offer(r *orlav1.TailLogsResponse, now time.Time) {
	if now.Sub(o.second) >= time.Second {
		o.second, o.count, o.volume = now, 0, 0
	}
	size := proto.Size(r)
	if o.count >= tailRecords || o.volume+size > tailBytes {
		o.dropped++
		return
	}
	o.count++
	o.volume += size
	o.add(r)
}

// remark adds how many records were left out in the second that is over.
func (o *outbox) remark(node string, now time.Time) {
	if o.dropped == 0 || now.Sub(o.second) < time.Second {
		return
	}
	o.add(&orlav1.TailLogsResponse{
		Time: timestamppb.New(now), Level: "WARN", Node: node,
		Message: fmt.Sprintf("dropped %d records: a node sends at most %d, or %d KiB, in a second", o.dropped, tailRecords, tailBytes>>10),
	})
	o.dropped = 0
}

// flush sends what there is; last says that the recent records end with it.
func (o *outbox) flush(last bool) {
	if len(o.records) == 0 && !last {
		return
	}
	o.tell(&orlav1.Tailed{Records: o.records, Recent: last, Beginning: o.beginning})
	o.records, o.bytes = nil, 0
}
