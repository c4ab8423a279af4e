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

	"github.com/orla-edge/orla/identity"
)

// replant restores, once, what [Grow] has saved, for all hubs, if there is no register
// yet: the leader has said info and err of it. It returns what is true then.
//
// It may be killed at any point. Until it is finished the register says that it is not,
// and nobody uses it, or any other of the streams: what an earlier try has left of them
// is removed, and made again from the files. When most of the hubs have all of it,
// grow/whole says so, and from then on nothing is removed.
func (s *session) replant(ctx context.Context, info bucketInfo, err error) (bucketInfo, error) {
	p, ok, perr := readPlan(s.c.cfg.Dir)
	if perr != nil {
		return info, perr
	}
	if !ok {
		return info, err
	}
	whole, perr := s.isWhole()
	if perr != nil {
		return info, perr
	}
	ours := strconv.FormatInt(int64(info.ID), 10) == p.bucket()
	switch {
	case err == nil && !ours:
		return info, fmt.Errorf("this cluster has a register of its own; the one that this node brings is kept in %s. To use that, stop all hubs, "+
			"move the data directories of the others away, and start again; to use the cluster's, stop this node and move its data directory away", s.growPath())
	case err == nil: // it was finished
		return info, s.planted(p)
	case errors.Is(err, errBrought) && ours && whole:
	case errors.Is(err, errGone), errors.Is(err, errBrought) && ours:
		if err := s.plant(ctx, p); err != nil {
			return info, fmt.Errorf("bring the register along: %w", err)
		}
	default:
		return info, err
	}
	return s.finish(ctx, p)
}

// growWhole is in grow/ while the cluster has all of it: the cluster's key.
const growWhole = "whole"

func (s *session) growPath() string { return filepath.Join(s.c.cfg.Dir, growDir) }

// isWhole reports whether an earlier try has brought everything to this cluster.
func (s *session) isWhole() (bool, error) {
	b, err := os.ReadFile(filepath.Join(s.growPath(), growWhole))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read how far the register was brought along: %w", err)
	}
	key, err := userKey(s.c.cfg.Topology.Secret, identity.Hub, userHub)
	return err == nil && string(b) == key.public, err
}

// noteWhole is for isWhole, before anybody uses what was brought.
func (s *session) noteWhole() error {
	key, err := userKey(s.c.cfg.Topology.Secret, identity.Hub, userHub)
	if err != nil {
		return err
	}
	return replaceDurably(filepath.Join(s.growPath(), growWhole), []byte(key.public))
}

// reached is for tests, which end the process there.
func (s *session) reached(step string) {
	if f := s.c.cfg.reached; f != nil {
		f(step)
	}
}

// plant restores all streams from the files, the register last and unfinished, and
// returns when most of the hubs have them.
func (s *session) plant(ctx context.Context, p plan) error {
	for _, snap := range p.Streams {
		if err := snap.verify(s.growPath()); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(s.growPath(), growWhole)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rebuildIn, errNoAnswer)
	defer cancel()
	js, err := s.reg.jetStream()
	if err != nil {
		return err
	}
	for i := range p.Streams { // the register first: it was the last to be made
		name := p.Streams[len(p.Streams)-1-i].Stream
		dctx, done := s.c.bounded(ctx)
		err := js.DeleteStream(dctx, name)
		err = reason(dctx, err)
		done()
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete what an earlier try left of %s: %w", name, err)
		}
	}
	for _, snap := range p.Streams {
		if err := s.reg.restore(ctx, snap, s.growPath(), hubs, func() { s.reached("amid " + snap.Stream) }); err != nil {
			return err
		}
		s.reached("after " + snap.Stream)
	}
	return s.spread(ctx, p)
}

// spread returns when most of those that keep copies have all of each stream.
func (s *session) spread(ctx context.Context, p plan) error {
	want := map[string]uint64{}
	for _, snap := range p.Streams {
		last, err := snap.last()
		if err != nil {
			return err
		}
		want[snap.Stream] = last
	}
	for {
		all, err := roll(ctx, s.link.nc, max(len(s.link.srv.JetStreamClusterPeers()), hubs))
		if err != nil {
			return err
		}
		missing := ""
		for name, last := range want {
			copies := 0
			for _, w := range all {
				if at, ok := w.Has[name]; ok && at >= last {
					copies++
				}
			}
			if copies <= hubs/2 {
				missing = name
			}
		}
		if missing == "" {
			return nil
		}
		if err := pause(ctx, stepRetry); err != nil {
			return fmt.Errorf("wait until most hubs have stream %s: %w", missing, err)
		}
	}
}

// finish has the cluster use the register that was planted. It may be done again.
func (s *session) finish(ctx context.Context, p plan) (bucketInfo, error) {
	ctx, cancel := s.c.bounded(ctx)
	defer cancel()
	if err := s.noteWhole(); err != nil {
		return bucketInfo{}, err
	}
	s.reached("noted")
	made, err := s.reg.stream(ctx)
	if err != nil {
		return bucketInfo{}, err
	}
	if err := s.reg.finish(ctx, made.Config, idOf(made)); err != nil {
		return bucketInfo{}, err
	}
	s.reached("finished")
	info, err := s.reg.info(ctx)
	if err != nil {
		return info, err
	}
	s.c.log.Warn("register brought along to the cluster", "revision", p.Revision, "streams", len(p.Streams))
	return info, s.planted(p)
}

// planted puts the snapshots aside: the cluster has them now.
func (s *session) planted(p plan) error {
	from, to := s.growPath(), filepath.Join(s.c.cfg.Dir, grownDir+p.Made.Format("-20060102-150405"))
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("put the snapshots aside: %w", err)
	}
	s.reached("put aside")
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
	// Has is how far the hub's own copies of the streams are.
	Has map[string]uint64 `json:"has,omitempty"`
}

// testify answers other hubs that are about to make the register of a new cluster.
func (s *session) testify() error {
	_, err := s.link.nc.Subscribe(subjectWitness, func(m *nats.Msg) {
		_, grown, err := readPlan(s.c.cfg.Dir)
		s.c.synced.mu.RLock()
		known := s.c.synced.known
		s.c.synced.mu.RUnlock()
		w := witness{Node: s.c.cfg.Node, Knows: known || grown || err != nil, Has: s.link.copies()}
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
