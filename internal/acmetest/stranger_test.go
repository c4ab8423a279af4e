//go:build linux

package acmetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orla-edge/orla/internal/lab"
)

const (
	strangers     = 10_000 // unknown names
	strangeDomain = ".stranger.example"
	atOnce        = 16  // of them
	goodSamples   = 300 // handshakes with a good name
)

// unknownNames: handshakes with names that nobody serves are refused. Nothing is ordered
// for them, and who asks for a good name meanwhile is answered.
func (s *scene) unknownNames() {
	n := s.Nodes[1]
	quiet := s.sample(n, "first.example")
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var next, wrong atomic.Int64
	var wait sync.WaitGroup
	for range atOnce {
		wait.Go(func() {
			for i := next.Add(1); i <= strangers && ctx.Err() == nil; i = next.Add(1) {
				_, err := s.handshake(ctx, n, fmt.Sprintf("n%d%s", i, strangeDomain))
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") { // RFC 6066 §3
					wrong.Add(1)
				}
			}
		})
	}
	busy := s.sample(n, "first.example")
	wait.Wait()
	if n := wrong.Load(); n > 0 {
		s.t.Errorf("%d of %d handshakes with unknown names did not end with unrecognized_name", n, strangers)
	}
	for _, o := range s.ca.Orders() {
		if strings.HasSuffix(o.Names[0], strangeDomain) {
			s.t.Errorf("%q was ordered", o.Names)
		}
	}
	s.t.Logf("handshakes with a good name, p50 and p99: quiet %v %v, with %d strangers at a time %v %v",
		quiet[len(quiet)/2], quiet[len(quiet)*99/100], atOnce, busy[len(busy)/2], busy[len(busy)*99/100])
}

// sample returns how long handshakes take, sorted.
func (s *scene) sample(n *lab.Node, host string) []time.Duration {
	s.t.Helper()
	var took []time.Duration
	for range goodSamples {
		begin := time.Now()
		if _, err := s.handshake(s.t.Context(), n, host); err != nil {
			s.t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took
}
