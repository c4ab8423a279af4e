package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

var errSwitched = errors.New("proxy: the protocol cannot be switched here")

// switchProtocols answers with the upstream's 101 and joins the two connections
// until both directions have ended, one has failed, or the request's context
// ends. It does not limit how long they may be silent.
func (x *exchange) switchProtocols(res *http.Response) {
	back, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		x.fail(fmt.Errorf("%w: the upstream's connection cannot be written to", errSwitched))
		return
	}
	defer func() { _ = back.Close() }()
	// The head is complete before the connection is taken over, so that a writer
	// around the server's can still change it then.
	before := x.w.Header().Clone()
	x.switchHeader(res)
	conn, buffered, err := x.rc.Hijack()
	if err != nil {
		clear(x.w.Header())
		maps.Copy(x.w.Header(), before)
		x.fail(fmt.Errorf("%w: %w", errSwitched, err))
		return
	}
	breakOff := func() { _, _ = conn.Close(), back.Close() }
	defer breakOff()
	defer context.AfterFunc(x.r.Context(), breakOff)()
	if err := x.writeSwitch(conn, buffered, res); err != nil {
		x.record.Err = fmt.Errorf("%w: %w", errClientGone, err)
		return
	}
	ended := make(chan error, 2)
	early := io.LimitReader(buffered.Reader, int64(buffered.Reader.Buffered()))
	go func() { ended <- join(back, io.MultiReader(early, conn)) }()
	go func() { ended <- join(conn, back) }()
	first := <-ended
	if first != nil {
		breakOff() // ends the other direction
	}
	if second := <-ended; first == nil {
		first = second
	}
	if first != nil && !errors.Is(first, io.EOF) {
		x.record.Err = fmt.Errorf("proxy: switched connection: %w", first)
	}
}

// switchHeader makes the header of the 101 response.
func (x *exchange) switchHeader(res *http.Response) {
	h := x.w.Header()
	dropNamed(res.Header, res.Header["Connection"])
	copyResponseHeader(h, res.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{x.upgrade}
}

// writeSwitch sends the head of the 101 response.
func (x *exchange) writeSwitch(conn net.Conn, w *bufio.ReadWriter, res *http.Response) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	head := &http.Response{StatusCode: res.StatusCode, ProtoMajor: 1, ProtoMinor: 1, Header: x.w.Header()}
	if err := head.Write(w); err != nil {
		return err
	}
	return w.Flush()
}

// join copies src to dst and passes its end on, where a connection can be closed
// one way.
func join(dst io.Writer, src io.Reader) error {
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if c, ok := dst.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err == nil {
			return nil
		}
	}
	return io.EOF // the other direction cannot outlive this one
}
