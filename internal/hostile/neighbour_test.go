package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// neighbour is another tenant: two clients ask its function all the time, and every
// answer has to be right.
type neighbour struct {
	url    string
	client *http.Client
}

func newNeighbour(t *testing.T, b *bench) *neighbour {
	t.Helper()
	p := b.load(t, "neighbour", guests.C(t, "internal/guests/c/handler.c", "-mexec-model=reactor"), &orlav1.Function{})
	srv := httptest.NewUnstartedServer(p.Handler("/*", ""))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	n := &neighbour{url: srv.URL + "/hello", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}, Timeout: 10 * time.Second}}
	t.Cleanup(func() {
		n.client.CloseIdleConnections()
		srv.Close()
	})
	return n
}

// visit asks once.
func (n *neighbour) visit(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url, nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(b) != "hello") {
		err = fmt.Errorf("answer %d %q", resp.StatusCode, b)
	}
	return err
}

// during serves the neighbour while f runs, or so many requests of each client if f is
// nil, and returns how long each request took. Garbage is collected every 50 ms.
func (n *neighbour) during(t *testing.T, f func()) times {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients, collector sync.WaitGroup
	var took [2]times
	for c := range took {
		clients.Go(func() {
			pause := time.NewTicker(10 * time.Millisecond)
			defer pause.Stop()
			for i := 0; ctx.Err() == nil && (f != nil || i < 100); i++ {
				began := time.Now()
				// The request that is under way at the end is waited for, too.
				if err := n.visit(context.WithoutCancel(ctx)); err != nil {
					t.Errorf("the neighbour's request fails: %v", err)
					return
				}
				took[c] = append(took[c], time.Since(began))
				<-pause.C
			}
		})
	}
	collector.Go(func() { collect(ctx) })
	if f != nil {
		f()
		cancel()
	}
	clients.Wait()
	cancel()
	collector.Wait()
	return slices.Concat(took[:]...)
}

// collect collects garbage until ctx ends.
func collect(ctx context.Context) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			goruntime.GC()
		case <-ctx.Done():
			return
		}
	}
}

// times are durations to be told as a figure.
type times []time.Duration

// String returns how many there are, median, 99th percentile and maximum.
func (s times) String() string {
	if len(s) == 0 {
		return "none"
	}
	s = slices.Sorted(slices.Values(s))
	at := func(p int) time.Duration { return s[(len(s)-1)*p/100].Round(time.Microsecond) }
	return fmt.Sprintf("n=%d p50=%s p99=%s max=%s", len(s), at(50), at(99), at(100))
}

// watchMemory fails the test if the process has ever had more of the machine's memory
// than an engine's budget and as much again for all else.
func watchMemory(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		peak, err := residentPeak()
		if err != nil {
			t.Logf("this system does not tell the peak of resident memory: %v", err)
			return
		}
		most := int64(budget + 512<<20)
		if raceEnabled {
			most += 1 << 30 // the detector's shadow
		}
		t.Logf("resident memory: peak %d MiB, allowed %d MiB", peak>>20, most>>20)
		if peak > most {
			t.Errorf("resident memory has peaked at %d MiB, want at most %d MiB", peak>>20, most>>20)
		}
	})
}

// residentPeak returns the most bytes of memory that the process has had.
func residentPeak() (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			var kib int64
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err
		}
	}
	return 0, os.ErrNotExist
}
