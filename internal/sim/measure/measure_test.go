package measure

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/sim"
)

// TestReal plays changes for real: each arrives once at each edge, also at those
// below a relay, and each is acknowledged by all.
func TestReal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := startRig(ctx, []string{"server"}, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", r.dir, err)
		}
	}()
	if err := r.addEdges(ctx, 6); err != nil {
		t.Fatal(err)
	}
	const changes = 10
	applied, proven, err := r.real(ctx, changes, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for i := range changes {
		if applied[i] <= 0 || proven[i] <= 0 {
			t.Errorf("change %d applied after %v, acknowledged after %v", i, applied[i], proven[i])
		}
	}
	chain, err := r.chain(ctx, sim.Params{Cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(chain.Measured) != realChanges {
		t.Errorf("%d changes came by way of the relay, want %d", len(chain.Measured), realChanges)
	}
}

func TestSlowest(t *testing.T) {
	a := &edge{took: []seen{{0, 5}, {1, 9}}}
	b := &edge{took: []seen{{1, 3}, {0, 7}}}
	got, err := slowest([]*edge{a, b}, 2)
	if err != nil || got[0] != 7 || got[1] != 9 {
		t.Errorf("slowest = %v, %v, want 7 and 9", got, err)
	}
	if _, err := slowest([]*edge{a, b}, 2); err == nil {
		t.Error("changes that never arrived were not missed")
	}
}

func TestLine(t *testing.T) {
	tests := []struct {
		x    []int
		y    []time.Duration
		a, b time.Duration
	}{
		{[]int{1, 8, 32}, []time.Duration{110, 180, 420}, 100, 10},
		{[]int{1, 2, 3}, []time.Duration{10, 20, 30}, 0, 10},
		{[]int{1, 2, 3}, []time.Duration{30, 20, 10}, 40, 0},
	}
	for _, tt := range tests {
		if a, b := line(tt.x, tt.y); a != tt.a || b != tt.b {
			t.Errorf("line(%v, %v) = %d, %d, want %d, %d", tt.x, tt.y, a, b, tt.a, tt.b)
		}
	}
}

func TestEncode(t *testing.T) {
	at := time.Unix(5, 7)
	for _, ack := range []bool{false, true} {
		seq, when, asked := decode(encode(3, at, ack))
		if seq != 3 || !when.Equal(at) || asked != ack {
			t.Errorf("decode(encode(3, %v, %t)) = %d, %v, %t", at, ack, seq, when, asked)
		}
	}
}
