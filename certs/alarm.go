package certs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// maxEndings is how many certificates a Summary names.
	maxEndings = 1000
	// summaryLife is how long a Summary is given out.
	summaryLife = 10 * time.Second
	// alarmFirst is when it is first looked for certificates that end soon: by then a node
	// knows what there is. As often it is looked whether it is on the node to look at all:
	// after a start of all nodes, nobody leads yet. alarmLook is how often it is looked from
	// then on, and alarmEvery how often the log names the same one.
	alarmFirst = 10 * time.Second
	alarmLook  = 10 * time.Minute
	alarmEvery = 24 * time.Hour
	// maxAlarms is how many of them the log names at a time.
	maxAlarms = 100
)

// Ending is a certificate with its end.
type Ending struct {
	Subject string
	Until   time.Time
	// State is valid, expiring or expired.
	State orlav1.Certificate_State
	// Failed says why it is not renewed, and what to do; empty: nothing has failed.
	Failed string
}

// Summary counts certificates: those of hosts that are served, and imported ones.
type Summary struct {
	Counts map[orlav1.Certificate_State]int
	// Soonest are those that end soonest, at most 1,000.
	Soonest []Ending
	// Alarms are those with less than a quarter of their life left, at most 1,000, of
	// AlarmCount.
	Alarms     []Ending
	AlarmCount int
	// Ordered and Failed count the orders of this node since it started.
	Ordered, Failed uint64
}

// summaries keeps the last one: to make one takes a walk through all.
type summaries struct {
	mu   sync.Mutex // guards the rest, and is held while one is made
	last Summary
	made time.Time // zero: there is none
}

// Summary returns what there is to say of all certificates; it may be ten seconds old, and
// is not to be changed.
func (m *Manager) Summary() Summary { return m.summaryAt(time.Now(), summaryLife) }

// summaryAt returns a summary that is younger than life at the time now.
func (m *Manager) summaryAt(now time.Time, life time.Duration) Summary {
	m.summary.mu.Lock()
	defer m.summary.mu.Unlock()
	if age := now.Sub(m.summary.made); m.summary.made.IsZero() || age < 0 || age >= life {
		m.summary.last, m.summary.made = m.summarise(now), now
	}
	s := m.summary.last
	if m.orders != nil {
		s.Ordered, s.Failed = m.orders.ordered.Load(), m.orders.failures.Load()
	}
	return s
}

func (m *Manager) summarise(now time.Time) Summary {
	s := Summary{Counts: map[orlav1.Certificate_State]int{}}
	for _, subject := range m.subjects() {
		b := m.brief(subject, now)
		own := b.leaf != nil || b.held != nil && b.held.GetSubject() == subject
		if _, wanted := m.want(subject); !wanted && b.leaf == nil && !b.held.imported() {
			continue // of a host that was served once
		}
		s.Counts[b.state]++
		if !own {
			continue
		}
		e := Ending{subject, b.until, b.state, b.failed.GetError()}
		s.Soonest = append(s.Soonest, e)
		if b.state == orlav1.Certificate_STATE_EXPIRING || b.state == orlav1.Certificate_STATE_EXPIRED {
			s.Alarms = append(s.Alarms, e)
		}
	}
	s.AlarmCount = len(s.Alarms)
	s.Soonest, s.Alarms = soonest(s.Soonest), soonest(s.Alarms)
	return s
}

// soonest returns those that end first.
func soonest(all []Ending) []Ending {
	slices.SortStableFunc(all, func(a, b Ending) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Subject, b.Subject))
	})
	return slices.Clone(all[:min(len(all), maxEndings)])
}

// Alarm says in a line which certificates end soon; empty: none does.
func (s *Summary) Alarm() string {
	if s.AlarmCount == 0 {
		return ""
	}
	first := s.Alarms[0]
	if s.AlarmCount == 1 {
		return fmt.Sprintf("the certificate of %s ends at %s, see `orla certs show %s`", first.Subject, first.Until.UTC().Format(time.RFC3339), first.Subject)
	}
	return fmt.Sprintf("%d certificates end soon, the first, of %s, at %s; see `orla certs`", s.AlarmCount, first.Subject, first.Until.UTC().Format(time.RFC3339))
}

// watch raises alarms until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	raised := map[string]time.Time{}
	timer := time.NewTimer(alarmFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !m.raises() {
			timer.Reset(alarmFirst)
			continue
		}
		timer.Reset(alarmLook)
		m.alarm(raised, time.Now())
	}
}

// raises reports whether it is on this node to raise alarms.
func (m *Manager) raises() bool {
	return m.orders != nil && m.orders.leads() || m.Leader() == "" || m.cfg.CutOff != nil && m.cfg.CutOff()
}

// alarm logs what ends soon, and notes when.
func (m *Manager) alarm(raised map[string]time.Time, now time.Time) {
	s := m.summaryAt(now, 0) // one from the node's start would hide for ten minutes what has been learned since
	for subject, at := range raised {
		if now.Sub(at) >= alarmEvery {
			delete(raised, subject)
		}
	}
	told, left := 0, 0
	for _, e := range s.Alarms {
		if _, done := raised[e.Subject]; done {
			continue
		}
		raised[e.Subject] = now
		if told++; told > maxAlarms {
			left++
			continue
		}
		m.raise(e, now)
	}
	if left > 0 {
		m.log.Error("more certificates end soon", "count", left)
	}
}

func (m *Manager) raise(e Ending, now time.Time) {
	next := "see `orla certs show " + e.Subject + "`"
	if m.book.cert(e.Subject).imported() {
		next = "import a new one with `orla certs import " + e.Subject + "`, or remove it with `orla certs remove " + e.Subject + "`"
	}
	args := []any{"host", e.Subject, "until", e.Until, "left", e.Until.Sub(now).Round(time.Minute).String(), "next", next}
	if e.Failed != "" {
		args = append(args, "error", e.Failed)
	}
	if e.State == orlav1.Certificate_STATE_EXPIRED {
		m.log.Error("certificate has expired", args...)
		return
	}
	m.log.Error("certificate ends soon", args...)
}
