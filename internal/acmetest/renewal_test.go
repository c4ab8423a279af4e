//go:build linux && amd64

package acmetest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
	"github.com/orla-edge/orla/internal/pebble"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const day = 24 * time.Hour

// TestAuthorityDown: the authority is not there for two weeks, in which three hubs are to
// renew a certificate of 90 days. The weeks are leaps of the clocks, all at once. All
// handshakes succeed, every node says what is wrong, and the certificate is renewed minutes
// after the authority is back, as somebody who knows nothing of what was, by one of them.
func TestAuthorityDown(t *testing.T) {
	t.Parallel()
	const host = "patient.example"
	s := newScene(t, lab.Options{Hubs: 3}, pebble.Options{Validity: 90 * day})
	s.deploy(host)
	old, _ := s.awaitOn(host, nil, s.Nodes...)
	s.ca.Close()
	for _, at := range []time.Duration{62 * day, 76 * day} {
		s.leap(at)
		want := orlav1.Certificate_STATE_VALID
		if at > 90*day*3/4 { // a quarter of its life is left
			want = orlav1.Certificate_STATE_EXPIRING
		}
		again := s.awaitFailure()
		if again > 10*time.Minute || again <= 0 {
			t.Errorf("on day %d the order is tried again in %s, want minutes", at/day, again)
		}
		for _, n := range s.Nodes {
			leaf, err := s.handshake(t.Context(), n, host)
			if err != nil || !leaf.Equal(old) {
				t.Fatalf("handshake with %s on day %d: %v, want the old certificate\n%s", n.Name, at/day, err, s.logs())
			}
			s.awaitCertificate(n, host, "failed", func(c *orlav1.Certificate) bool {
				return c.GetState() == want && strings.Contains(c.GetFailure().GetError(), "cannot be reached")
			})
		}
	}
	s.awaitLog(`level=ERROR msg="certificate ends soon".* host=`+host+`.* error=".*cannot be reached`, s.Nodes...)
	for path, want := range map[string]string{"/readyz": "orla certs show " + host, "/metrics": `orla_certs_count{orla_certs_state="expiring"} 1`} {
		for _, n := range s.Nodes {
			if body := s.admin(n, path); !strings.Contains(body, want) {
				t.Errorf("GET %s of %s does not say %q\n%s", path, n.Name, want, body)
			}
		}
	}
	back := 76*day + 10*time.Minute
	s.ca.Reset(back)
	s.ca.FailEvery(0) // one failure of the first order, and the next is minutes later
	s.ca.Open()
	s.leap(back)
	renewed, _ := s.awaitOn(host, old, s.Nodes...)
	if left := renewed.NotAfter.Sub(old.NotAfter); left < 75*day {
		t.Errorf("the new certificate ends %s after the old one", left)
	}
	for _, n := range s.Nodes {
		s.awaitCertificate(n, host, "valid, and no failure told of", func(c *orlav1.Certificate) bool {
			return c.GetState() == orlav1.Certificate_STATE_VALID && c.GetFailure() == nil
		})
	}
	s.wantOrders(host, 2)
	if n := len(s.ca.Accepted(pebble.NewAccount)); n != 2 {
		t.Errorf("%d accounts were made, want one with each authority", n)
	}
}

// admin returns what the node answers to a GET of its own.
func (s *scene) admin(n *lab.Node, path string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, n.Admin()+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Errorf("GET %s = %s, %v", path, res.Status, err)
	}
	return string(body)
}

// leap has the nodes live at another time.
func (s *scene) leap(ahead time.Duration) {
	s.t.Helper()
	s.ahead = ahead
	for _, n := range s.Nodes {
		n.Kill()
		n.SetClock(ahead)
	}
	s.StartAll(s.Nodes...)
}
