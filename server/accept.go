package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// queue is a listener whose connections come from the accept loops, handshake
// done.
type queue struct {
	conns  chan net.Conn
	done   chan struct{}
	closed sync.Once
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), done: make(chan struct{})} }

// push hands c to net/http, or closes it if the queue is closed.
func (q *queue) push(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close() // nobody is left who could read its error
	}
}

// Accept implements [net.Listener].
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (q *queue) Close() error {
	q.closed.Do(func() { close(q.done) })
	return nil
}

// Addr implements [net.Listener]; the address is nobody's.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

const (
	maxAcceptPause = time.Second
	// backlogTime is how long a listener that is to be closed goes on accepting
	// what the kernel has queued for it: those clients are connected already.
	backlogTime = 20 * time.Millisecond
)

// accept takes connections off ln until ln is closed, and passes each one that
// is within the caps on to take. Its error is one that does not go away.
func (s *Server) accept(ln net.Listener, take func(*conn)) error {
	pause := time.Duration(0)
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(c, take)
		case s.stopped() || errors.Is(err, net.ErrClosed):
			return nil
		case isTemporary(err): // no file descriptors, or a peer that went away
			pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
			s.log.Warn("accept connection", "error", err, "pause", pause.String())
			select {
			case <-time.After(pause):
			case <-s.stop:
				return nil
			}
		default:
			return err
		}
	}
}

// stopped reports whether the listeners are being closed; what they fail with
// then does not matter.
func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *Server) admit(nc net.Conn, take func(*conn)) {
	c := &conn{Conn: nc, srv: s, client: clientAddr(nc), stall: s.cfg.Limits.WriteStall}
	c.enter(http.StateNew)
	if s.conns.add(c) {
		take(c)
		return
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset leaves no TIME_WAIT behind
	}
	_ = nc.Close() // it is refused anyway
}

// takePlain is for connections without TLS.
func (s *Server) takePlain(c *conn) {
	c.scan = new(headScan)
	s.queue1.push(c)
}

// takeTLS is for those with TLS: the handshake must not hold up the next one.
func (s *Server) takeTLS(ctx context.Context) func(*conn) {
	return func(c *conn) {
		c.enter(stateHandshake)
		s.accepts.Go(func() { s.handshake(ctx, c) })
	}
}

// handshake finishes the handshake and queues the connection for the protocol
// that was negotiated.
func (s *Server) handshake(ctx context.Context, c *conn) {
	defer func() { // the certificate comes from code that is not ours
		if cause := recover(); cause != nil {
			s.log.Error("tls handshake panicked", "error", fmt.Sprint(cause), "stack", cut(string(debug.Stack()), maxStack))
			_ = c.Close() // it is in no defined state
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Handshake)
	defer cancel()
	t := tls.Server(c, s.cfg.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		s.log.Debug("tls handshake", "client", c.client.String(), "error", err)
		var record tls.RecordHeaderError
		if errors.As(err, &record) && record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
			refusePlain(c)
		}
		_ = c.Close() // the handshake's error says it all
		return
	}
	switch t.ConnectionState().NegotiatedProtocol {
	case "h2":
		c.enter(stateHTTP2)
		s.queue2.push(t)
	case "", "http/1.1":
		s.queue1.push(&tlsConn{Conn: t, scan: new(headScan)})
	default: // a protocol for the handshake only, as ACME's
		_ = t.Close()
	}
}

// looksLikeHTTP reports whether what came instead of a TLS record is the start
// of a request.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// refusePlain answers a request that came without TLS to a port that wants it.
func refusePlain(c *conn) {
	const page = "This port speaks HTTPS: use https:// in the URL.\n"
	_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nServer: orla\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(page), page) // a courtesy
}

func isTemporary(err error) bool {
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

// rawConn returns the connection below c.
func rawConn(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *tlsConn:
		return c.NetConn().(*conn)
	case *tls.Conn:
		return c.NetConn().(*conn)
	}
	return nil
}
