//go:build linux

package pebble

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/process"
)

// Options tells what an authority does. The zero value issues to everybody for 90 days.
type Options struct {
	// HTTPPort and TLSPort are where the authority looks for the answers to its
	// challenges, at the address of the name: see [Server.Resolve]. A zero port means
	// that these challenges fail.
	HTTPPort, TLSPort int
	// Validity is that of certificates, in whole seconds. Zero means 90 days.
	Validity time.Duration
	// RejectNonces is how many of 100 requests with a good nonce are refused as if it
	// were not: a client has to try them again.
	RejectNonces int
	// AccountKeys are the keys for external account binding (RFC 8555 §7.3.4), base64url
	// without padding, by their identifiers. If there are any, an account needs one.
	AccountKeys map[string]string
	// Blocked are names that no certificate is issued for.
	Blocked []string
	// Ahead is how far the authority's clock is ahead, in whole seconds.
	Ahead time.Duration
}

// Server is an authority. Its methods that have no result of an error fail the test, and
// are for the test's own goroutine unless they say otherwise.
type Server struct {
	t       testing.TB
	o       Options
	dir     string // of files
	program string // of Pebble
	api     string // Pebble's addresses, behind the front
	manage  string
	dns     dnsServer
	pebble  *process.Process
	front   *front
	roots   *x509.CertPool
}

// Start starts an authority that is gone when the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, o: o, dir: t.TempDir(), roots: x509.NewCertPool()}
	programs := build(t)
	s.program = programs.pebble
	s.makeIdentity()
	s.startDNS(programs.challenges)
	s.front = newFront(t, s.identityFile(certFile), s.identityFile(keyFile))
	s.startPebble(true)
	s.front.forward(s.api)
	s.Open()
	t.Cleanup(func() {
		s.front.close()
		s.pebble.Kill()
		s.dns.process.Kill()
	})
	return s
}

// Directory is the URL of the authority's directory. It may be called concurrently.
func (s *Server) Directory() string { return "https://" + s.front.addr + "/dir" }

// RootFile is the file with the root that vouches for the authority's own server, in
// PEM: what a client needs to talk to it. It vouches for no certificate that is issued.
func (s *Server) RootFile() string { return s.identityFile(rootFile) }

// Roots are those of the certificates that are issued, and of those from before a
// [Server.Reset].
func (s *Server) Roots() *x509.CertPool { return s.roots.Clone() }

// Log is what Pebble has printed since it was started.
func (s *Server) Log() string { return s.pebble.Log() }

// Close refuses connections, as if the authority were down, until [Server.Open]. It
// forgets nothing.
func (s *Server) Close() { s.front.close() }

// Open accepts connections again.
func (s *Server) Open() {
	s.t.Helper()
	if err := s.front.open(); err != nil {
		s.t.Fatalf("open the front of the authority: %v", err)
	}
}

// Reset puts a new authority in the place of this one, with its clock ahead by so many
// whole seconds. It knows of no account and no order, and issues from another root.
func (s *Server) Reset(ahead time.Duration) {
	s.t.Helper()
	s.o.Ahead = ahead
	s.pebble.Kill()
	s.startPebble(false)
}
