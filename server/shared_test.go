package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// duplicate returns what a process that inherits ln has.
func duplicate(t *testing.T, ln net.Listener) net.Listener {
	t.Helper()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	twin, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

// Servers take over from each other on one socket while clients post on kept
// connections and on new ones: nothing is lost, and the socket outlives them all.
func TestSharedListenerOutlivesADrain(t *testing.T) {
	const clients, rounds = 8, 5
	first, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + first.Addr().String() + "/"
	serve := func(ln net.Listener, shared bool) (stop func()) {
		s, err := New(Config{HTTP: []net.Listener{ln}, Handler: http.HandlerFunc(echo), DrainIdle: 500 * time.Millisecond, Shared: func() bool { return shared }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	}
	next := duplicate(t, first)
	stop := serve(first, true)

	var answered atomic.Int64
	var working sync.WaitGroup
	end := make(chan struct{})
	for i := range clients {
		tr := &http.Transport{DisableKeepAlives: i%2 == 0}
		working.Go(func() {
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			for {
				select {
				case <-end:
					return
				default:
				}
				res, err := client.Post(url, "text/plain", io.NopCloser(strings.NewReader("x"))) // cannot be sent twice
				if err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				answered.Add(1)
			}
		})
	}
	for round := range rounds {
		before := answered.Load()
		await(t, func() bool { return answered.Load() > before+50*clients || t.Failed() })
		shared := round < rounds-1
		after := next
		if shared {
			next = duplicate(t, after)
		}
		stopNext := serve(after, shared)
		stop()
		stop = stopNext
	}
	before := answered.Load()
	await(t, func() bool { return answered.Load() > before+50*clients || t.Failed() })
	close(end)
	working.Wait()
	stop()
	t.Logf("%d answered over %d takeovers", answered.Load(), rounds)
}

// A server out of rotation asks HTTP/1 clients to leave, leaves HTTP/2 alone,
// accepts all the same, and is back when it is told so.
func TestSetDrainingIsTakenBack(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	closes := func() bool {
		t.Helper()
		c := srv.dial(t, "")
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		return resp.Close
	}
	srv.SetDraining(true)
	if !closes() {
		t.Error("out of rotation: no Connection: close")
	}
	h2 := attack(t, srv)
	for id := range uint32(3) {
		if err := h2.request(2*id+1, h2.head()); err != nil {
			t.Fatal(err)
		}
		h2.until(t, "answer on a connection that stays", func(f http2.Frame) bool {
			if isGoAway(f) {
				t.Fatal("out of rotation: GOAWAY")
			}
			_, ok := f.(*http2.HeadersFrame)
			return ok
		})
	}
	srv.SetDraining(false)
	if closes() {
		t.Error("back in rotation: Connection: close")
	}
}
