package node

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestDrained takes a node out of rotation before it serves and while it does, and
// puts it back.
func TestDrained(t *testing.T) {
	data := t.TempDir()
	ready := make(chan []string, 1)
	n := newNode(Config{
		Data: data, Output: io.Discard, Name: "n1", TLS: TLSOff, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Ready: func(urls []string) { ready <- urls },
	})
	n.setDrained(true)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.live(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	url := (<-ready)[0] + "/"
	deploy(t, data, siteFiles)
	c := trustingNobody(t)
	for _, drained := range []bool{true, false, true} {
		n.setDrained(drained)
		n.setDrained(drained) // again changes nothing
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Close != drained {
			t.Errorf("drained %t: GET / = %d, Connection: close %t", drained, res.StatusCode, res.Close)
		}
		want := http.StatusOK
		if drained {
			want = http.StatusServiceUnavailable
		}
		if status, body := get(t, c, n.listeners.adminURL()+"/readyz"); status != want || drained != strings.Contains(body, "orla nodes resume n1") {
			t.Errorf("drained %t: /readyz = %d %q", drained, status, body)
		}
	}
}
