package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// ticketTurn is how long session tickets are made with a key.
	ticketTurn = 12 * time.Hour
	// ticketAhead is how long before that a key is there at least, for every node to know
	// it; ticketLead is when it is made.
	ticketAhead = 30 * time.Minute
	ticketLead  = time.Hour
	// ticketsKept is how many keys are kept that no tickets are made with any more: a
	// session lives for 36 to 48 hours. crypto/tls lets one live for 7 days.
	ticketsKept = 3
	// maxTicketKeys is how many keys of an entry are read.
	maxTicketKeys = 16
	// ticketLook is how often a node looks whether a key's time has come.
	ticketLook = 5 * time.Minute
)

// ticketKey is a key of TLS session tickets.
type ticketKey struct {
	secret [32]byte
	sealed []byte
	from   time.Time // when tickets begin to be made with it
}

// ticketKeysLocked returns the keys of the register that this node can open, oldest first,
// and the revision of their entry.
func (m *Manager) ticketKeysLocked() ([]ticketKey, uint64) {
	if e := m.book.entry(ticketsKey); e.Revision != m.ticketsAt {
		m.tickets, m.ticketsAt = m.openTickets(e.Value), e.Revision
	}
	return m.tickets, m.ticketsAt
}

func (m *Manager) openTickets(value []byte) (keys []ticketKey) {
	var record orlav1.TicketKeys
	if err := proto.Unmarshal(value, &record); err != nil {
		m.log.Warn("keys of session tickets not read", "error", err)
		return nil
	}
	for _, k := range record.GetKeys()[:min(len(record.GetKeys()), maxTicketKeys)] {
		secret, err := m.cfg.Sealer.Open(k.GetSealed(), ticketsKey)
		if err != nil || len(secret) != len(ticketKey{}.secret) {
			m.log.Debug("key of session tickets not used", "from", k.GetFrom().AsTime(), "error", err)
			continue
		}
		keys = append(keys, ticketKey{[32]byte(secret), k.GetSealed(), k.GetFrom().AsTime()})
	}
	slices.SortStableFunc(keys, func(a, b ticketKey) int { return a.from.Compare(b.from) })
	return keys
}

// current returns the index of the key that tickets are made with, the first if the time
// of none has come.
func current(keys []ticketKey, now time.Time) int {
	i := len(keys) - 1
	for i > 0 && keys[i].from.After(now) {
		i--
	}
	return i
}

// turnTickets makes session tickets with the key whose time it is. Tickets made with any
// of the others are taken: clocks differ, and clients come back later.
func (m *Manager) turnTickets(now time.Time) {
	if m.cfg.Register == nil {
		return // crypto/tls has keys of its own, and turns them
	}
	m.turning.Lock()
	defer m.turning.Unlock()
	keys, _ := m.ticketKeysLocked()
	var secrets [][32]byte
	if i := current(keys, now); i >= 0 {
		secrets = append(secrets, keys[i].secret)
		for j, k := range slices.Backward(keys) {
			if j != i {
				secrets = append(secrets, k.secret)
			}
		}
	}
	if !slices.Equal(secrets, m.configs.Load().keys) {
		m.configs.Store(m.newConfigs(secrets))
	}
}

// followTickets turns session tickets' keys when it is time, until ctx ends.
func (m *Manager) followTickets(ctx context.Context) {
	tick := time.NewTicker(ticketLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.turnTickets(time.Now())
		}
	}
}

// leadTickets makes new keys for all nodes when it is time, until ctx ends.
func (m *Manager) leadTickets(ctx context.Context) {
	tick := time.NewTicker(ticketLook)
	defer tick.Stop()
	for {
		if err := m.makeTickets(ctx, time.Now()); err != nil && ctx.Err() == nil {
			m.log.Warn("keys of session tickets not made; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// makeTickets makes a new key if it is time for one.
func (m *Manager) makeTickets(ctx context.Context, now time.Time) error {
	m.turning.Lock()
	before, revision := m.ticketKeysLocked()
	m.turning.Unlock()
	keys, from := planTickets(before, now)
	if !from.IsZero() {
		k := ticketKey{from: from}
		if _, err := rand.Read(k.secret[:]); err != nil {
			return fmt.Errorf("make a key: %w", err)
		}
		var err error
		if k.sealed, err = m.cfg.Sealer.Seal(k.secret[:], ticketsKey); err != nil {
			return fmt.Errorf("seal a key: %w", err)
		}
		keys = append(keys, k)
	}
	if from.IsZero() && len(keys) == len(before) {
		return nil
	}
	record := new(orlav1.TicketKeys)
	for _, k := range keys {
		record.Keys = append(record.Keys, &orlav1.TicketKey{Sealed: k.sealed, From: timestamppb.New(k.from)})
	}
	value, err := proto.Marshal(record)
	if err != nil {
		return err
	}
	err = m.cfg.Register.Commit(ctx, ticketsKey, value, revision)
	if errors.Is(err, ErrChanged) {
		return nil // another node was quicker
	}
	return err
}

// planTickets returns the keys that are still of use, and from when on a new one is;
// zero: none is needed.
func planTickets(keys []ticketKey, now time.Time) (keep []ticketKey, from time.Time) {
	for _, k := range keys {
		// No node made a later one that had the right time.
		if !k.from.After(now.Add(ticketTurn + ticketAhead)) {
			keep = append(keep, k)
		}
	}
	if len(keep) == 0 {
		return nil, now
	}
	keep = keep[max(0, current(keep, now)-ticketsKept):]
	turn := keep[len(keep)-1].from.Add(ticketTurn)
	switch {
	case now.Before(turn.Add(-ticketLead)):
		return keep, time.Time{}
	case turn.Before(now.Add(ticketAhead)):
		return keep, now.Add(ticketAhead)
	}
	return keep, turn
}
