package hostile

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// TestHog: an app whose instances grow until they are refused does not take what others
// need. Without shares the neighbour's idle instances were closed, and it was answered
// 503.
func TestHog(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	n := newNeighbour(t, b)
	wasm := guests.C(t, "internal/hostile/testdata/greedy.c", "-mexec-model=reactor")
	h := b.load(t, "hostile", wasm, &orlav1.Function{Timeout: durationpb.New(300 * time.Millisecond)}).Handler("/*", "")
	var mu sync.Mutex
	answers := map[int]int{}
	n.during(t, func() {
		parallel(48, func(int) {
			for range 2 {
				got := ask(h, get("/hog")).status
				mu.Lock()
				answers[got]++
				mu.Unlock()
			}
		})
	})
	t.Log("answers to the hog:", answers)
	if answers[http.StatusGatewayTimeout] == 0 || answers[http.StatusServiceUnavailable] == 0 {
		t.Error("the hog was never stopped, or never refused an instance: the test proves nothing")
	}
}
