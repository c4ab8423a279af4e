package certs

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// resealEvery is how often a node looks for what it has to seal anew: an export of the
// time when it was alone may have been imported.
const resealEvery = 10 * time.Minute

// sealing seals with the nodes' key, and opens what this node has sealed before, too.
type sealing struct {
	now Sealer
	old Sealer // nil: none
}

// Seal implements [Sealer].
func (s sealing) Seal(value []byte, place string) ([]byte, error) { return s.now.Seal(value, place) }

// Open implements [Sealer].
func (s sealing) Open(sealed []byte, place string) ([]byte, error) {
	value, err := s.now.Open(sealed, place)
	if err != nil && s.old != nil {
		if value, older := s.old.Open(sealed, place); older == nil {
			return value, nil
		}
	}
	return value, err
}

// again seals *sealed with the nodes' key if it was with this node's, and reports whether
// it was.
func (s sealing) again(sealed *[]byte, place string) bool {
	if _, err := s.now.Open(*sealed, place); err == nil {
		return false
	}
	value, err := s.old.Open(*sealed, place)
	if err != nil {
		return false // neither's: another node's to do
	}
	anew, err := s.now.Seal(value, place)
	if err != nil {
		return false
	}
	*sealed = anew
	return true
}

// reseal seals with the nodes' key what this node has sealed with its own while it was
// alone, until ctx ends: the others cannot.
func (m *Manager) reseal(ctx context.Context, s sealing) {
	tick := time.NewTicker(resealEvery)
	defer tick.Stop()
	for seen := uint64(0); ; {
		if m.cfg.Register.Sync(ctx) == nil {
			seen = m.resealSince(ctx, s, seen)
		}
		wait := tick.C
		if seen == 0 && ctx.Err() == nil {
			wait = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		}
	}
}

// resealSince looks at entries of later revisions than seen and returns the last one of
// them; 0: it has to be done again.
func (m *Manager) resealSince(ctx context.Context, s sealing, seen uint64) uint64 {
	last, failed := max(seen, 1), false
	for _, e := range m.book.sealedSince(seen) {
		if ctx.Err() != nil {
			return 0
		}
		last = max(last, e.Revision)
		value := resealed(e, s)
		if value == nil {
			continue
		}
		err := m.cfg.Register.Commit(ctx, e.Key, value, e.Revision)
		switch {
		case errors.Is(err, ErrChanged): // it is new, then
		case err != nil:
			failed = true
			m.log.Warn("not sealed with the nodes' key; will try again", "entry", e.Key, "error", err)
		default:
			m.log.Info("sealed with the nodes' key", "entry", e.Key)
		}
	}
	if failed {
		return 0
	}
	return last
}

// resealed returns what an entry is with all sealed with the nodes' key; nil: it is so.
func resealed(e Entry, s sealing) []byte {
	var record proto.Message
	changed := false
	switch {
	case strings.HasPrefix(e.Key, certPrefix):
		r := new(orlav1.CertRecord)
		if proto.Unmarshal(e.Value, r) == nil {
			changed = s.again(&r.Key, e.Key)
		}
		record = r
	case strings.HasPrefix(e.Key, accountPrefix):
		r := new(orlav1.CertAccount)
		if proto.Unmarshal(e.Value, r) == nil {
			changed = s.again(&r.Key, e.Key)
		}
		record = r
	case e.Key == rootKey:
		r := new(orlav1.CertRoot)
		if proto.Unmarshal(e.Value, r) == nil {
			changed = s.again(&r.Key, e.Key)
		}
		record = r
	case e.Key == ticketsKey:
		r := new(orlav1.TicketKeys)
		if proto.Unmarshal(e.Value, r) == nil {
			for _, k := range r.GetKeys() {
				changed = s.again(&k.Sealed, e.Key) || changed
			}
		}
		record = r
	}
	if !changed {
		return nil
	}
	value, err := proto.Marshal(record)
	if err != nil {
		return nil
	}
	return value
}

// sealedSince returns the entries of later revisions that have something sealed in them.
func (b *book) sealedSince(seen uint64) (out []Entry) {
	for _, e := range append(b.entries(accountPrefix), b.entry(rootKey), b.entry(ticketsKey)) {
		if e.Revision > seen {
			out = append(out, e)
		}
	}
	b.certs.Range(func(subject, value any) bool {
		h, name := value.(*held), subject.(string) //nolint:forcetypeassert // it holds no others
		if h.revision <= seen {
			return true
		}
		if text, err := proto.Marshal(h.CertRecord); err == nil {
			out = append(out, Entry{Key: subjectKey(certPrefix, name), Value: text, Revision: h.revision})
		}
		return true
	})
	return out
}
