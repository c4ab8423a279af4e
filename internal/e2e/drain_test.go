//go:build linux

package e2e

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestStopLosesNothing sends SIGTERM while clients post, on kept connections and on
// new ones, over HTTP/1.1 and HTTP/2. A connection may be refused once the node
// has stopped listening; a request that a connection was there for must be
// answered. Over HTTP/1.1 the bodies cannot be sent again, so that no client
// hides a loss by trying again. Over HTTP/2 they can: a request that crosses a
// GOAWAY is one that the node has said it will not look at (RFC 9113 §6.8).
func TestStopLosesNothing(t *testing.T) {
	var answered, lost atomic.Int64
	for range 5 {
		n := start(t, t.TempDir())
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{"orla.toml": "name = \"drain\"\n[[routes]]\nmatch = { path = \"/\" }\nrespond = { body = \"ok\" }\n"})
		if err := n.deploy(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		insecure := &tls.Config{InsecureSkipVerify: true}
		var clients sync.WaitGroup
		for _, c := range []struct {
			url       string
			transport *http.Transport
			body      func() io.Reader
		}{
			{n.http, &http.Transport{}, once},
			{n.http, &http.Transport{DisableKeepAlives: true}, once},
			{n.https, &http.Transport{TLSClientConfig: insecure.Clone()}, once},
			{n.https, &http.Transport{TLSClientConfig: insecure.Clone(), ForceAttemptHTTP2: true}, func() io.Reader { return strings.NewReader("x") }},
		} {
			for range 4 {
				clients.Go(func() {
					client := &http.Client{Transport: c.transport, Timeout: 60 * time.Second}
					for {
						res, err := client.Post(c.url+"/", "text/plain", c.body())
						if errors.Is(err, syscall.ECONNREFUSED) {
							return
						}
						if err != nil {
							lost.Add(1)
							t.Errorf("POST %s: %v", c.url, err)
							return
						}
						_, err = io.Copy(io.Discard, res.Body)
						res.Body.Close()
						if err != nil || res.StatusCode != http.StatusOK {
							lost.Add(1)
							t.Errorf("POST %s = %d, %v", c.url, res.StatusCode, err)
							return
						}
						answered.Add(1)
					}
				})
			}
			defer c.transport.CloseIdleConnections()
		}
		for before := answered.Load(); answered.Load() < before+500; {
			time.Sleep(time.Millisecond) // until they all are at work
		}
		if err := n.stop(); err != nil {
			t.Errorf("orderly stop: %v\n%s", err, n.log)
		}
		clients.Wait()
	}
	t.Logf("%d answered, %d lost", answered.Load(), lost.Load())
}

// once is a body that http.Client cannot send a second time.
func once() io.Reader { return io.NopCloser(strings.NewReader("x")) }
