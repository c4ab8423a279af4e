package certs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// name is a subject that has a certificate.
type name struct {
	managed bool         // asked for by Manage; else by a handshake
	used    atomic.Int64 // when a handshake last used it, Unix nanoseconds
}

// Manage makes sure that these hosts have certificates, up to Config.MaxManaged,
// and forgets those of hosts that were in an earlier call but are not in this
// one: pass all host patterns each time. A wildcard, "*.example.com", gets a
// wildcard certificate; a wildcard for a whole top-level domain, which clients
// do not accept, and "*" leave it to handshakes to name hosts.
//
// The error joins those of the hosts that failed; the others have theirs.
func (m *Manager) Manage(ctx context.Context, hosts []string) error {
	wanted := map[string]bool{}
	var errs []error
	for _, host := range hosts {
		subject := strings.ToLower(host)
		switch {
		case subject == "*" || len(wanted) >= m.cfg.MaxManaged:
		case !validHost(strings.TrimPrefix(subject, "*.")):
			errs = append(errs, fmt.Errorf("issue certificate for %q: it is no host name", host))
		case strings.HasPrefix(subject, "*.") && strings.Count(subject, ".") < 2:
		default:
			wanted[subject] = true
		}
	}
	m.unmanage(wanted)
	for _, subject := range slices.Sorted(maps.Keys(wanted)) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := m.ensure(ctx, subject, true); err != nil {
			errs = append(errs, fmt.Errorf("issue certificate for %q: %w", subject, err))
		}
	}
	return errors.Join(errs...)
}

// unmanage forgets managed names that are not wanted.
func (m *Manager) unmanage(wanted map[string]bool) {
	m.mu.RLock()
	var gone []string
	for subject, n := range m.names {
		if n.managed && !wanted[subject] {
			gone = append(gone, subject)
		}
	}
	m.mu.RUnlock()
	m.forget(gone...)
}

// ensure issues a certificate for subject unless there is one that is valid.
func (m *Manager) ensure(ctx context.Context, subject string, managed bool) error {
	for {
		_, err, _ := m.flight.Do(subject, func() (any, error) {
			return nil, m.issue(context.WithoutCancel(ctx), subject, managed)
		})
		switch {
		case err == nil:
			m.keep(subject, managed)
			return nil
		case !managed || !errors.Is(err, errBudget):
			return err
		} // else a handshake was first, and without budget: try again
	}
}

func (m *Manager) issue(ctx context.Context, subject string, managed bool) error {
	if m.valid(subject) != nil {
		return nil
	}
	if !managed && !m.budget.Allow() {
		return errBudget
	}
	m.forget(subject) // one that has expired while the machine slept
	return m.magic.ManageSync(ctx, []string{subject})
}

// keep notes that subject has a certificate, and makes room if there are too
// many on demand.
func (m *Manager) keep(subject string, managed bool) {
	m.mu.Lock()
	n := m.names[subject]
	if n == nil {
		n = new(name)
		m.names[subject] = n
	}
	n.managed = n.managed || managed
	n.used.Store(time.Now().UnixNano())
	oldest := m.oldestLocked()
	m.mu.Unlock()
	if oldest != "" {
		m.forget(oldest)
	}
}

// oldestLocked returns the name on demand that was unused for longest, if there
// are more of them than may be.
func (m *Manager) oldestLocked() (oldest string) {
	count, least := 0, int64(0)
	for subject, n := range m.names {
		if n.managed {
			continue
		}
		count++
		if used := n.used.Load(); oldest == "" || used < least {
			oldest, least = subject, used
		}
	}
	if count <= m.cfg.MaxOnDemand {
		return ""
	}
	return oldest
}

// forget throws certificates and their keys away.
func (m *Manager) forget(subjects ...string) {
	if len(subjects) == 0 {
		return
	}
	m.mu.Lock()
	for _, s := range subjects {
		delete(m.names, s)
	}
	m.mu.Unlock()
	remove := make([]certmagic.SubjectIssuer, len(subjects))
	for i, s := range subjects {
		m.store.drop(certmagic.StorageKeys.CertsSitePrefix(m.ca.IssuerKey(), s))
		remove[i] = certmagic.SubjectIssuer{Subject: s}
	}
	m.cache.RemoveManaged(remove)
}

// sweep forgets the names on demand that are no longer served, and what a
// renewal has brought back of a name that was forgotten meanwhile.
func (m *Manager) sweep(context.Context) {
	m.mu.RLock()
	var gone []string
	kept := map[string]bool{}
	for subject, n := range m.names {
		if !n.managed && !isLocal(subject) && !m.cfg.Hosts(subject) {
			gone = append(gone, subject)
			continue
		}
		kept[certmagic.StorageKeys.CertsSitePrefix(m.ca.IssuerKey(), subject)] = true
	}
	m.mu.RUnlock()
	m.forget(gone...)
	for prefix, subject := range m.store.subjects() {
		if !kept[prefix] {
			m.forget(subject)
		}
	}
}

// count returns how many names have a certificate.
func (m *Manager) count() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.names)
}
