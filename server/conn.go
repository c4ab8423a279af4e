package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// writePiece is how much of an answer is written under one deadline.
const writePiece = 64 << 10

// conn is an accepted TCP connection. It counts in its Server until it is
// closed, watches HTTP/1 heads, and gives up on a peer that stops reading.
type conn struct {
	net.Conn
	srv    *Server
	client netip.Addr
	scan   *headScan // nil below TLS

	stall    time.Duration
	armed    atomic.Int64 // the write deadline in force, Unix nanoseconds
	explicit atomic.Int64 // the one that somebody asked for; 0 if none

	state atomic.Int32 // an http.ConnState
	since atomic.Int64 // when state was entered, Unix nanoseconds

	closing sync.Once
}

var (
	_ io.ReaderFrom = (*conn)(nil)
	_ net.Conn      = (*conn)(nil)
)

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.scan != nil && n > 0 {
		c.scan.feed(p[:n])
	}
	return n, err
}

// Write implements [net.Conn]. It fails with [os.ErrDeadlineExceeded] if the
// peer takes none of the next 64 KiB for Limits.WriteStall.
func (c *conn) Write(p []byte) (n int, err error) {
	for {
		piece := p[:min(len(p), writePiece)]
		c.arm()
		m, err := c.Conn.Write(piece)
		n += m
		if err != nil || len(piece) == len(p) {
			return n, err
		}
		p = p[len(piece):]
	}
}

// ReadFrom implements [io.ReaderFrom] so that files go out by sendfile(2).
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	left, src := int64(-1), r
	if l, ok := r.(*io.LimitedReader); ok {
		left, src = l.N, l.R
		defer func() { l.N -= n }()
	}
	tcp, isTCP := c.Conn.(*net.TCPConn)
	if _, isFile := src.(*os.File); !isFile || !isTCP {
		if left >= 0 {
			src = io.LimitReader(src, left)
		}
		return copyPooled(writerOnly{c}, src)
	}
	for left != 0 {
		piece := &io.LimitedReader{R: src, N: writePiece}
		if left > 0 {
			piece.N = min(left, writePiece)
		}
		want := piece.N
		c.arm()
		m, err := tcp.ReadFrom(piece)
		n += m
		if left > 0 {
			left -= m
		}
		if err != nil || m < want {
			return n, err
		}
	}
	return n, nil
}

// arm makes sure that between stall/2 and stall is left for the next write.
func (c *conn) arm() {
	now := time.Now()
	if c.armed.Load() > now.Add(c.stall/2).UnixNano() {
		return
	}
	c.setWriteDeadline(now.Add(c.stall))
}

func (c *conn) setWriteDeadline(limit time.Time) {
	if t := c.explicit.Load(); t != 0 && t < limit.UnixNano() {
		limit = time.Unix(0, t)
	}
	c.armed.Store(limit.UnixNano())
	_ = c.Conn.SetWriteDeadline(limit) // fails only if closed, and then the write does as well
}

// SetWriteDeadline implements [net.Conn]. The peer is cut off at t, or when it
// stalls.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		if c.explicit.Swap(0) != 0 {
			c.armed.Store(0) // the next write sets it
		}
		return nil
	}
	c.explicit.Store(t.UnixNano())
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite ends the sending half, which net/http does before it closes a
// connection whose peer may still be sending.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.closing.Do(func() { c.srv.conns.remove(c) })
	return c.Conn.Close()
}

// States that [http.ConnState] does not have.
const (
	stateHandshake http.ConnState = 100 + iota // of TLS, not finished
	stateHTTP2                                 // whatever happens on it
	stateUnused                                // closed because no request ever came
)

// enter notes a change of state. A connection that was closed as unused stays
// so.
func (c *conn) enter(state http.ConnState) {
	c.since.Store(time.Now().UnixNano())
	for {
		old := c.state.Load()
		if http.ConnState(old) == stateUnused || c.state.CompareAndSwap(old, int32(state)) {
			return
		}
	}
}

// in reports whether c is in this state.
func (c *conn) in(state http.ConnState) bool { return http.ConnState(c.state.Load()) == state }

// closeUnused closes c if no request has come on it. One that comes meanwhile is
// not handed to the handler.
func (c *conn) closeUnused() {
	if c.state.CompareAndSwap(int32(http.StateNew), int32(stateUnused)) {
		_ = c.Close() // nothing was sent or received on it
	}
}

// tlsConn is a TLS connection that speaks HTTP/1. It is no *tls.Conn, so that
// heads are watched inside of TLS too; net/http finds its state by
// ConnectionState.
type tlsConn struct {
	*tls.Conn
	scan *headScan
}

// Read implements [net.Conn].
func (c *tlsConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.scan.feed(p[:n])
	}
	return n, err
}

// peer is what is known of the other side of a connection.
type peer struct {
	conn *conn
	scan *headScan // nil for HTTP/2
	ip   string
}

type peerKey struct{}

// peerOf makes the peer of a connection that net/http serves.
func peerOf(c net.Conn) *peer {
	p := &peer{}
	switch c := c.(type) {
	case *conn:
		p.conn, p.scan = c, c.scan
	case *tlsConn:
		p.conn, p.scan = c.NetConn().(*conn), c.scan
	case *tls.Conn:
		p.conn = c.NetConn().(*conn)
	}
	p.ip = p.conn.client.String()
	return p
}

// writerOnly hides every method but Write.
type writerOnly struct{ io.Writer }

const copySize = 32 << 10

// copyBuffers are shared by all that copies without sendfile.
var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

func copyPooled(dst writerOnly, src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(dst, readerOnly{src}, buf[:])
}

// readerOnly hides every method but Read.
type readerOnly struct{ io.Reader }
