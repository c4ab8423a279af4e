//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/internal/lab"
)

const (
	stormClients = 8
	stormLasts   = 10 * time.Second
)

// TestPushStorm: clients push as fast as they can to sets that they share, and to ones of
// their own, by way of all hubs and an edge. Nobody dies, so that every push has an
// outcome: it is live, or another one was quicker, whose release it names.
func TestPushStorm(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	ctx, cancel := context.WithTimeout(t.Context(), stormLasts)
	defer cancel()
	var wg sync.WaitGroup
	for c := range stormClients {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				set := fmt.Sprintf("own-%d-%d", c, i/maxReleases)
				if i%2 == 0 {
					set = fmt.Sprintf("shared-%d-%d", rand.IntN(2), i/(2*maxReleases/stormClients)%1000)
				}
				_, err := s.push(t.Context(), s.Nodes[(c+i)%len(s.Nodes)], set, fmt.Sprintf("client %d, push %d", c, i), eager())
				if err == nil {
					continue
				}
				if text := err.Error(); connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(text, "is live, set by") {
					t.Errorf("client %d, push %d: %v, want success or a conflict that names who was first", c, i, err)
				}
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	conflicts := s.failed[connect.CodeAborted]
	s.errors = nil // which are those conflicts
	s.mu.Unlock()
	if conflicts == 0 {
		t.Error("there was no conflict: the clients did not meet")
	}
	s.finish()
	s.onlyAcknowledged()
}

// onlyAcknowledged checks that the heads' history has nothing but what was acknowledged.
func (s *scene) onlyAcknowledged() {
	s.t.Helper()
	acked := map[push]bool{}
	for _, p := range s.acked {
		acked[p] = true
	}
	count := 0
	for set, h := range s.heads(s.Nodes[0]) {
		for _, r := range h.GetReleases() {
			if set == "home" {
				continue
			}
			count++
			if !acked[push{set, r.GetMessage(), r.GetNumber()}] {
				s.t.Errorf("release %d of %s, %q, is in the history and was not acknowledged", r.GetNumber(), set, r.GetMessage())
			}
		}
	}
	if count != len(s.acked) {
		s.t.Errorf("the history has %d releases, %d were acknowledged", count, len(s.acked))
	}
}
