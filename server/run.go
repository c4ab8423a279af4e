package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// cancelGrace is what a handler has, between the end of its context and the end
// of its connection, to say goodbye.
const cancelGrace = time.Second

// reportEvery is how often refused connections are logged.
const reportEvery = 10 * time.Second

// Run serves until ctx ends, then drains, and returns when every listener and
// connection is closed. Its error is a listener's that failed; in that case the
// others are drained.
//
// Draining loses no request: listeners close, each answer asks its client to
// close the connection (HTTP/2: GOAWAY), and the server waits until connections
// are idle or gone before it closes them. Requests that outlast DrainTimeout,
// and connections taken over by handlers, such as WebSockets, have their context
// cancelled and are closed a second later.
func (s *Server) Run(ctx context.Context) error {
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	s.h1.BaseContext = func(net.Listener) context.Context { return requests }
	s.h2.BaseContext = s.h1.BaseContext

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(s.h1, s.queue1, fail) })
	serving.Go(func() { s.serve(s.h2, s.queue2, fail) })
	var accepting sync.WaitGroup
	s.startAccepting(requests, &accepting, fail)
	serving.Go(s.report)

	<-ctx.Done()
	s.drain(&accepting, cancelRequests)
	serving.Wait()
	if err := s.metrics.close(); err != nil {
		s.log.Warn("unregister metrics", "error", err)
	}
	if err := context.Cause(ctx); errors.As(err, new(*serveError)) {
		return err
	}
	return nil
}

// serveError is what ends Run beside its context.
type serveError struct{ error }

// Unwrap returns the cause.
func (e *serveError) Unwrap() error { return e.error }

func (s *Server) serve(h *http.Server, q *queue, fail context.CancelCauseFunc) {
	if err := h.Serve(q); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		fail(&serveError{fmt.Errorf("serve connections: %w", err)})
	}
}

func (s *Server) startAccepting(ctx context.Context, wg *sync.WaitGroup, fail context.CancelCauseFunc) {
	start := func(ln net.Listener, take func(*conn)) {
		wg.Go(func() {
			if err := s.accept(ln, take); err != nil {
				fail(&serveError{fmt.Errorf("accept on %s: %w", ln.Addr(), err)})
			}
		})
	}
	for _, ln := range s.cfg.HTTP {
		start(ln, s.takePlain)
	}
	for _, ln := range s.cfg.HTTPS {
		start(ln, s.takeTLS(ctx))
	}
}

// drain ends what Run started.
func (s *Server) drain(accepting *sync.WaitGroup, cancelRequests context.CancelFunc) {
	s.draining.Store(true)
	shared := s.cfg.Shared()
	if !shared {
		time.Sleep(s.cfg.DrainDelay)
	}
	began := time.Now()
	s.closeListeners(shared)
	accepting.Wait()

	limit, cancel := context.WithDeadline(context.Background(), began.Add(s.cfg.DrainTimeout))
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() {
		s.awaitQuiet(limit, began)
		s.closeNew()
		_ = s.h1.Shutdown(limit) // its error is limit's, and what is left is closed below
	})
	both.Go(func() {
		s.awaitHandshakes(limit)
		_ = s.h2.Shutdown(limit) // as above
	})
	both.Wait()
	s.awaitGone(limit) // connections that handlers took over

	if left := s.conns.count(); left > 0 {
		s.log.Warn("connections outlast the drain", "count", left, "timeout", s.cfg.DrainTimeout.String())
		cancelRequests()
		grace, cancel := context.WithTimeout(context.Background(), cancelGrace)
		defer cancel()
		s.awaitGone(grace)
	}
	s.abort()
}

// SetDraining asks clients to leave, or to stay, while the server serves all that
// comes and goes on accepting: a node that is taken out of rotation and may be put
// back. While it is true, answers over HTTP/1 carry "Connection: close". HTTP/2
// connections are left alone: a GOAWAY cannot be taken back, and a client that has
// nowhere else to go would come again for every request; they get theirs when the
// server stops.
func (s *Server) SetDraining(on bool) { s.drained.Store(on) }

// closeListeners accepts what the kernel has queued, then closes the listeners.
// From those that are shared it takes nothing any more: what is queued is the
// other process's, and a socket that refused new connections would refuse them to
// that one too.
func (s *Server) closeListeners(shared bool) {
	close(s.stop)
	var wg sync.WaitGroup
	for _, ln := range append(append([]net.Listener(nil), s.cfg.HTTP...), s.cfg.HTTPS...) {
		wg.Go(func() {
			if !shared {
				s.emptyBacklog(ln)
			}
			if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				s.log.Warn("close listener", "address", ln.Addr().String(), "error", err)
			}
		})
	}
	wg.Wait()
}

// emptyBacklog keeps new connections away from ln and gives those that are queued
// the time to be accepted.
func (s *Server) emptyBacklog(ln net.Listener) {
	if err := refuseNew(ln); err != nil {
		s.log.Debug("close listener", "error", err) // some are reset, as without it
	}
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok && d.SetDeadline(time.Now().Add(backlogTime)) == nil {
		time.Sleep(backlogTime)
	}
}

// awaitHandshakes waits until the last connections that were accepted have come
// to net/http, which sends a GOAWAY to those that it knows.
func (s *Server) awaitHandshakes(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.accepts.Wait()
	}()
	select {
	case <-done:
		time.Sleep(backlogTime) // from the queue into HTTP/2's register
	case <-ctx.Done():
	}
}

// awaitQuiet waits until no HTTP/1 connection is at a request, or ctx ends.
func (s *Server) awaitQuiet(ctx context.Context, began time.Time) {
	poll(ctx, func() bool { return s.conns.quiet(s.cfg.DrainIdle, began) })
}

// awaitGone waits until no connection is left, or ctx ends.
func (s *Server) awaitGone(ctx context.Context) {
	poll(ctx, func() bool { return s.conns.count() == 0 })
}

// closeNew closes connections that never had a request; Shutdown would give
// them five seconds more.
func (s *Server) closeNew() {
	for _, c := range s.conns.all() {
		c.closeUnused()
	}
}

// abort closes all that is left.
func (s *Server) abort() {
	_ = s.queue1.Close()
	_ = s.queue2.Close()
	_ = s.h1.Close() // the listeners' errors; they are closed
	_ = s.h2.Close()
	for _, c := range s.conns.all() {
		_ = c.Close() // so that what reads from it ends
	}
	s.accepts.Wait()
}

// poll calls done every few milliseconds until it reports true or ctx ends.
func poll(ctx context.Context, done func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// report logs refused connections now and then until the listeners close.
func (s *Server) report() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
		if n := s.conns.takeRefused(); n > 0 {
			s.log.Warn("connections refused: too many at a time", "count", n,
				"limit", s.cfg.Limits.Conns, "limit_per_ip", s.cfg.Limits.ConnsPerIP)
		}
	}
}
