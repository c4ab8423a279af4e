package certs

import "time"

// Has reports whether the register has a valid certificate for a host, in lower case
// and without port: one of its own or a wildcard's. It reads memory only.
func (m *Manager) Has(host string) bool {
	now := time.Now()
	held := m.book.covering(host, now)
	return held != nil && now.Before(held.GetNotAfter().AsTime())
}
