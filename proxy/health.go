package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/orla-edge/orla/telemetry"
)

// A target is taken out after this many failed checks in a row, and back in after
// as many good ones. While one disagrees with the state, checks come quicker.
const (
	threshold  = 2
	hurry      = 5 // times as often
	maxDrained = 64 << 10
)

// Run checks the upstreams' health until ctx ends, if the target has a health
// path; else it returns at once. A check is a GET that is answered with 2xx or
// 3xx within the time between two checks. It returns nil when all that it started
// has ended.
func (p *Proxy) Run(ctx context.Context) error {
	path := p.c.Proxy.GetHealth()
	if path == "" {
		return nil
	}
	var wg sync.WaitGroup
	for _, t := range p.targets {
		wg.Go(func() { p.watch(ctx, t, path) })
	}
	wg.Wait()
	return nil
}

// health is what the checks of one target have said so far.
type health struct {
	down bool
	run  int // checks in a row that disagree with down
}

// note takes a check's result and reports whether it changed the state.
func (h *health) note(good bool) bool {
	if good != h.down {
		h.run = 0
		return false
	}
	h.run++
	if h.run < threshold {
		return false
	}
	h.down, h.run = !h.down, 0
	return true
}

// watch checks one target again and again.
func (p *Proxy) watch(ctx context.Context, t *target, path string) {
	var h health
	for {
		err := p.check(ctx, t, path)
		if ctx.Err() != nil {
			return
		}
		if h.note(err == nil) {
			t.down.Store(h.down)
			p.tell(ctx, t, err)
		}
		pause := p.c.HealthInterval
		if h.run > 0 {
			pause /= hurry
		}
		// A fifth more or less, lest all nodes ask at the same moment.
		pause = pause*4/5 + rand.N(pause*2/5+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (p *Proxy) tell(ctx context.Context, t *target, err error) {
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "upstream fails its health checks",
			slog.String(telemetry.KeyUpstream, t.host), slog.Any(telemetry.KeyError, err))
		return
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "upstream is healthy", slog.String(telemetry.KeyUpstream, t.host))
}

// check asks once.
func (p *Proxy) check(ctx context.Context, t *target, path string) error {
	ctx, cancel := context.WithTimeout(ctx, p.c.HealthInterval)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	in, err := url.ParseRequestURI(path)
	if err != nil {
		return fmt.Errorf("read health path: %w", err)
	}
	in.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, outgoingURL(t, in).String(), nil)
	if err != nil {
		return fmt.Errorf("make health check: %w", err)
	}
	req.Header.Set("User-Agent", "orla-health-check")
	res, err := t.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	// Read to its end, so that the connection can be used again.
	if _, err := io.CopyN(io.Discard, res.Body, maxDrained); err != nil && err != io.EOF { //nolint:errorlint // an end is io.EOF itself
		return fmt.Errorf("check health: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("check health: status %d", res.StatusCode)
	}
	t.answered()
	return nil
}
