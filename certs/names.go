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
	managed bool         // asked for by manage; else by a handshake
	used    atomic.Int64 // when a handshake last used it, Unix nanoseconds
}

// manage makes sure that these hosts have certificates, up to Config.MaxManaged,
// and forgets those of hosts that were in an earlier call but are not in this
// one: pass all host patterns each time. A wildcard, "*.example.com", gets a
// wildcard certificate; a wildcard for a whole top-level domain, which clients
// do not accept, and "*" leave it to handshakes to name hosts.
//
// The error joins those of the hosts that failed; the others have theirs.
func (l *local) manage(ctx context.Context, hosts []string) error {
	wanted := map[string]bool{}
	var errs []error
	for _, host := range hosts {
		subject := strings.ToLower(host)
		switch {
		case subject == "*" || len(wanted) >= l.cfg.MaxManaged:
		case !validHost(strings.TrimPrefix(subject, "*.")):
			errs = append(errs, fmt.Errorf("issue certificate for %q: it is no host name", host))
		case strings.HasPrefix(subject, "*.") && strings.Count(subject, ".") < 2:
		default:
			wanted[subject] = true
		}
	}
	l.unmanage(wanted)
	for _, subject := range slices.Sorted(maps.Keys(wanted)) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := l.ensure(ctx, subject, true); err != nil {
			errs = append(errs, fmt.Errorf("issue certificate for %q: %w", subject, err))
		}
	}
	return errors.Join(errs...)
}

// unmanage forgets managed names that are not wanted.
func (l *local) unmanage(wanted map[string]bool) {
	l.mu.RLock()
	var gone []string
	for subject, n := range l.names {
		if n.managed && !wanted[subject] {
			gone = append(gone, subject)
		}
	}
	l.mu.RUnlock()
	l.forget(gone...)
}

// ensure issues a certificate for subject unless there is one that is valid.
func (l *local) ensure(ctx context.Context, subject string, managed bool) error {
	for {
		_, err, _ := l.flight.Do(subject, func() (any, error) {
			return nil, l.issue(context.WithoutCancel(ctx), subject, managed)
		})
		switch {
		case err == nil:
			l.keep(subject, managed)
			return nil
		case !managed || !errors.Is(err, errBudget):
			return err
		} // else a handshake was first, and without budget: try again
	}
}

func (l *local) issue(ctx context.Context, subject string, managed bool) error {
	if l.valid(subject) != nil {
		return nil
	}
	if !managed && !l.budget.Allow() {
		return errBudget
	}
	for {
		before, _ := l.ca.own()
		l.forget(subject) // one that has expired while the machine slept
		if err := l.magic.ManageSync(ctx, []string{subject}); err != nil {
			return err
		}
		if after, _ := l.ca.own(); after == before {
			return nil
		}
	}
}

// keep notes that subject has a certificate, and makes room if there are too
// many on demand.
func (l *local) keep(subject string, managed bool) {
	l.mu.Lock()
	n := l.names[subject]
	if n == nil {
		n = new(name)
		l.names[subject] = n
	}
	n.managed = n.managed || managed
	n.used.Store(time.Now().UnixNano())
	oldest := l.oldestLocked()
	l.mu.Unlock()
	if oldest != "" {
		l.forget(oldest)
	}
}

// oldestLocked returns the name on demand that was unused for longest, if there
// are more of them than may be.
func (l *local) oldestLocked() (oldest string) {
	count, least := 0, int64(0)
	for subject, n := range l.names {
		if n.managed {
			continue
		}
		count++
		if used := n.used.Load(); oldest == "" || used < least {
			oldest, least = subject, used
		}
	}
	if count <= l.cfg.MaxOnDemand {
		return ""
	}
	return oldest
}

// forget throws certificates and their keys away.
func (l *local) forget(subjects ...string) {
	if len(subjects) == 0 {
		return
	}
	l.mu.Lock()
	for _, s := range subjects {
		delete(l.names, s)
	}
	l.mu.Unlock()
	remove := make([]certmagic.SubjectIssuer, len(subjects))
	for i, s := range subjects {
		l.store.drop(certmagic.StorageKeys.CertsSitePrefix(l.ca.IssuerKey(), s))
		remove[i] = certmagic.SubjectIssuer{Subject: s}
	}
	l.cache.RemoveManaged(remove)
}

// sweep forgets the names on demand that are no longer served, and what a
// renewal has brought back of a name that was forgotten meanwhile.
func (l *local) sweep(context.Context) {
	l.mu.RLock()
	var gone []string
	kept := map[string]bool{}
	for subject, n := range l.names {
		if !n.managed && !isLocal(subject) && !l.cfg.Hosts(subject) {
			gone = append(gone, subject)
			continue
		}
		kept[certmagic.StorageKeys.CertsSitePrefix(l.ca.IssuerKey(), subject)] = true
	}
	l.mu.RUnlock()
	l.forget(gone...)
	for prefix, subject := range l.store.subjects() {
		if !kept[prefix] {
			l.forget(subject)
		}
	}
}

// count returns how many names have a certificate.
func (l *local) count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.names)
}
