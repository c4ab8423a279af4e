//go:build linux

package pebble

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"

	"github.com/orla-edge/orla/internal/ports"
	"github.com/orla-edge/orla/internal/process"
)

// dnsServer is the challenge server, of which only the DNS is used: the nodes answer the
// challenges.
type dnsServer struct {
	addr, manage string
	client       *http.Client
	process      *process.Process
}

// DNS is the address of the server, over UDP and TCP, that the authority asks for names.
func (s *Server) DNS() string { return s.dns.addr }

// Resolve lets the authority find a name at the IPv4 addresses, and at no other. With
// none it finds it where it finds all that nothing was said about: at 127.0.0.1.
func (s *Server) Resolve(name string, addresses ...string) {
	s.t.Helper()
	s.tell("clear-a", map[string]any{"host": name})
	s.tell("clear-servfail", map[string]any{"host": name})
	if len(addresses) > 0 {
		s.tell("add-a", map[string]any{"host": name, "addresses": addresses})
	}
}

// Unresolve lets the authority find no address of a name, until [Server.Resolve].
func (s *Server) Unresolve(name string) {
	s.t.Helper()
	s.tell("set-servfail", map[string]any{"host": name})
}

// SetTXT adds a TXT record of a name, as for a DNS-01 challenge.
func (s *Server) SetTXT(name, value string) error {
	return s.dns.post(context.Background(), "set-txt", map[string]any{"host": name, "value": value})
}

// ClearTXT removes all TXT records of a name.
func (s *Server) ClearTXT(name string) error {
	return s.dns.post(context.Background(), "clear-txt", map[string]any{"host": name})
}

func (s *Server) tell(what string, body map[string]any) {
	s.t.Helper()
	if err := s.dns.post(s.t.Context(), what, body); err != nil {
		s.t.Fatal(err)
	}
}

// post has the challenge server do something.
func (d *dnsServer) post(ctx context.Context, what string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.manage+"/"+what, bytes.NewReader(text))
	if err != nil {
		return err
	}
	res, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("challenge server: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("challenge server: %s %s: %s %s", what, text, res.Status, answer)
	}
	return err
}

func (s *Server) startDNS(program string) {
	s.t.Helper()
	s.dns.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for attempt := 1; ; attempt++ {
		s.dns.addr, s.dns.manage = ports.Address(s.t), ports.Address(s.t)
		cmd := exec.Command(program, "-dnsserver", s.dns.addr, "-management", s.dns.manage, //nolint:noctx // ends with the test
			"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
		var err error
		if s.dns.process, err = process.Start(cmd, process.Options{}); err != nil {
			s.t.Fatalf("start the challenge server: %v", err)
		}
		err = await(s.t.Context(), s.dns.process, func(ctx context.Context) error {
			return s.dns.post(ctx, "set-default-ipv6", map[string]any{"ip": ""})
		})
		if err == nil {
			return
		}
		s.dns.process.Kill()
		if attempt == 3 { // somebody may have taken a port meanwhile
			s.t.Fatalf("start the challenge server: %v\n%s", err, s.dns.process.Log())
		}
	}
}
