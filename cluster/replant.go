package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replant restores, once, what [Grow] has saved, for all hubs, if there is no register
// yet: the leader has said info and err of it. It returns what is true then.
func (s *session) replant(ctx context.Context, info bucketInfo, err error) (bucketInfo, error) {
	dir := filepath.Join(s.c.cfg.Dir, growDir)
	p, ok, perr := readPlan(s.c.cfg.Dir)
	if !ok && perr == nil || err != nil && !errors.Is(err, errGone) {
		return info, err
	}
	if perr != nil {
		return info, perr
	}
	if err == nil { // it was restored, or others were quicker
		if strconv.FormatInt(int64(info.ID), 10) != p.bucket() {
			return info, fmt.Errorf("this cluster has a register of its own; the one that this node brings is kept in %s. To use that, stop all hubs, "+
				"move the data directories of the others away, and start again; to use the cluster's, stop this node and move its data directory away", dir)
		}
		return info, s.planted(p)
	}
	for _, snap := range p.Streams {
		if err := snap.verify(dir); err != nil {
			return info, fmt.Errorf("bring the register along: %w", err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rebuildIn, errNoAnswer)
	defer cancel()
	for _, snap := range p.Streams {
		if err := s.plant(ctx, snap, dir); err != nil {
			return info, fmt.Errorf("bring the register along: %w", err)
		}
	}
	if info, err = s.reg.info(ctx); err != nil {
		return info, err
	}
	s.c.log.Warn("register brought along to the cluster", "revision", p.Revision, "streams", len(p.Streams))
	return info, s.planted(p)
}

// plant restores one stream. What there is of it can only come of a try that did not
// end: until the register is there, nobody uses the others.
func (s *session) plant(ctx context.Context, snap snapshot, dir string) error {
	js, err := s.reg.jetStream()
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, snap.Stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete what an earlier try left of %s: %w", snap.Stream, reason(ctx, err))
	}
	return s.reg.restore(ctx, snap, dir, hubs)
}

// planted puts the snapshots aside: the cluster has them now.
func (s *session) planted(p plan) error {
	from, to := filepath.Join(s.c.cfg.Dir, growDir), filepath.Join(s.c.cfg.Dir, grownDir+p.Made.Format("-20060102-150405"))
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("put the snapshots aside: %w", err)
	}
	return syncDir(s.c.cfg.Dir)
}

// bucket is the identity of the register in the plan.
func (p plan) bucket() string {
	i := slices.IndexFunc(p.Streams, func(s snapshot) bool { return s.Stream == streamName })
	if i < 0 {
		return ""
	}
	return p.Streams[i].id()
}

// subjectWitness is where hubs are asked whether they know of a register.
const subjectWitness = toHubs + "register-known"

// witness is a hub's answer.
type witness struct {
	Node  string `json:"node"`
	Knows bool   `json:"knows"`
}

// testify answers other hubs that are about to make the register of a new cluster.
func (s *session) testify() error {
	_, err := s.link.nc.Subscribe(subjectWitness, func(m *nats.Msg) {
		_, grown, err := readPlan(s.c.cfg.Dir)
		s.c.synced.mu.RLock()
		known := s.c.synced.known
		s.c.synced.mu.RUnlock()
		w := witness{Node: s.c.cfg.Node, Knows: known || grown || err != nil}
		if b, err := json.Marshal(w); err == nil && m.Reply != "" {
			_ = m.Respond(b) // whoever asks asks again
		}
	})
	if err != nil {
		return fmt.Errorf("listen to other hubs: %w", err)
	}
	return nil
}

// witnessIn is how long hubs may take to answer.
const witnessIn = 2 * time.Second

// consent returns nil when every hub that is there says that it knows of no register:
// the first of a new cluster may be made.
func (s *session) consent(ctx context.Context) error {
	if s.c.kind != hub {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, witnessIn, errors.New("not all hubs have answered yet"))
	defer cancel()
	inbox := s.link.nc.NewInbox()
	sub, err := s.link.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	if err := s.link.nc.PublishRequest(subjectWitness, inbox, nil); err != nil {
		return err
	}
	heard := map[string]bool{}
	for len(heard) < len(s.link.srv.JetStreamClusterPeers()) || len(heard) < hubs {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("ask the other hubs whether there is a register: %w", reason(ctx, err))
		}
		var w witness
		if err := json.Unmarshal(m.Data, &w); err != nil {
			return fmt.Errorf("read another hub's answer: %w", err)
		}
		if w.Knows {
			return fmt.Errorf("hub %q knows of a register that is not there: wait for it to bring it back, or see `orla cluster rescue --help`", w.Node)
		}
		heard[w.Node] = true
	}
	return nil
}
