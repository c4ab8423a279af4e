package certs

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Leases of the node that works for all: those that order do not wait for one that cannot.
const (
	leaseACME     = "tls"
	leaseInternal = "tls-internal"
)

const (
	// leaseLife is how long the lease outlives its holder; it is renewed, and others look,
	// four times as often.
	leaseLife = 20 * time.Second
)

func (m *Manager) leaseName() string {
	if m.orders != nil {
		return leaseACME
	}
	return leaseInternal
}

// campaign takes the lease whenever nobody has it, and works for all while it lasts,
// until ctx ends.
func (m *Manager) campaign(ctx context.Context) {
	tick := time.NewTicker(m.cfg.lease / 4)
	defer tick.Stop()
	for {
		revision, err := m.cfg.Register.TakeLease(ctx, m.leaseName(), m.cfg.Node, m.cfg.lease)
		if err == nil {
			m.reign(ctx, revision)
		} else if !errors.Is(err, ErrChanged) && ctx.Err() == nil {
			m.log.Debug("lease for certificates not taken", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reign works for all while the lease lasts.
func (m *Manager) reign(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.work(ctx)
	}()
	revision = m.holdLease(ctx, revision)
	cancel()
	<-done
	if revision == 0 {
		m.log.Warn("lease for certificates lost: another node works for all")
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.lease/4)
	defer stop()
	if err := m.cfg.Register.DropLease(ctx, m.leaseName(), revision); err != nil {
		m.log.Debug("lease for certificates not given back", "error", err)
	}
}

// holdLease renews the lease until ctx ends or the lease does, and returns its revision;
// 0: it is lost, or was not renewed for so long that another may have it.
func (m *Manager) holdLease(ctx context.Context, revision uint64) uint64 {
	tick := time.NewTicker(m.cfg.lease / 4)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return revision
		case <-tick.C:
		}
		before := time.Now()
		limit, cancel := context.WithDeadline(ctx, renewed.Add(m.cfg.lease))
		next, err := m.cfg.Register.RenewLease(limit, m.leaseName(), m.cfg.Node, m.cfg.lease, revision)
		cancel()
		switch {
		case err == nil:
			revision, renewed = next, before
		case ctx.Err() != nil:
			return revision
		case errors.Is(err, ErrChanged) || time.Since(renewed) >= m.cfg.lease*3/4:
			return 0
		}
	}
}

// work does what one node does for all, until ctx ends.
func (m *Manager) work(ctx context.Context) {
	if !m.catchUp(ctx) {
		return
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { m.leadTickets(ctx) })
	parts.Go(func() { m.leadRoot(ctx) })
	if m.orders != nil {
		m.orders.lead(ctx)
	}
}

// catchUp waits until this node knows all that the one before it has done, and says who
// orders now. It reports whether it got there before ctx ended.
func (m *Manager) catchUp(ctx context.Context) bool {
	for {
		err := m.cfg.Register.Sync(ctx)
		if err == nil && m.orders != nil {
			err = m.takeOver(ctx)
		}
		if err == nil {
			return true
		}
		m.log.Debug("lease for certificates taken, but the register is not there yet", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
	}
}

// takeOver tells all nodes who orders.
func (m *Manager) takeOver(ctx context.Context) error {
	e := m.book.entry(leadKey)
	var lead orlav1.CertLead
	if e.Value != nil && proto.Unmarshal(e.Value, &lead) == nil && lead.GetNode() == m.cfg.Node {
		return nil
	}
	value, err := proto.Marshal(&orlav1.CertLead{Node: m.cfg.Node, Since: timestamppb.Now()})
	if err != nil {
		return err
	}
	return m.cfg.Register.Commit(ctx, leadKey, value, e.Revision)
}

// Leader returns the node that orders certificates for all, as far as this one knows;
// empty: none ever has.
func (m *Manager) Leader() string {
	var lead orlav1.CertLead
	if e := m.book.entry(leadKey); e.Value == nil || proto.Unmarshal(e.Value, &lead) != nil {
		return ""
	}
	return lead.GetNode()
}
