package server

import (
	"bytes"
	"strconv"
	"sync"
)

// framing is how a request's head says where its body ends.
type framing struct {
	length  bool // it has a Content-Length
	coding  bool // it has a Transfer-Encoding
	unknown bool // the head was not seen: assume the worst
}

// suspicious reports whether the connection has to be closed after the answer:
// somebody before us may have seen another end of this request than we do (RFC
// 9112 §6.3, §11.2).
func (f framing) suspicious(chunked bool) bool {
	return f.length && f.coding || f.unknown && chunked
}

// headScan watches the bytes of an HTTP/1 connection for fields that net/http
// removes before a handler can see them: a Content-Length beside a
// Transfer-Encoding, and a Transfer-Encoding in HTTP/1.0. It follows the
// connection from head to head across bodies of a known length; a chunked body
// ends what it can follow, and from there on it answers "unknown".
type headScan struct {
	mu    sync.Mutex // net/http reads ahead on another goroutine
	lost  bool
	ready bool    // done holds a head that nobody has asked for
	done  framing // the last complete head

	line    [64]byte // the beginning of the line being read
	n       int      // bytes in line
	inHead  bool     // the request line has been seen
	now     framing  // of the head being read
	skip    int64    // bytes of body before the next head
	pending int64    // value of the Content-Length seen
}

// feed takes bytes as they come off the connection.
func (s *headScan) feed(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 && !s.lost {
		if s.skip > 0 {
			n := min(s.skip, int64(len(p)))
			s.skip -= n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.keepLocked(p)
			return
		}
		s.keepLocked(p[:end])
		s.lineLocked(s.line[:s.n])
		s.n = 0
		p = p[end+1:]
	}
}

func (s *headScan) keepLocked(p []byte) { s.n += copy(s.line[s.n:], p) }

// lineLocked takes one line, cut to what matters of it.
func (s *headScan) lineLocked(line []byte) {
	if len(line) < len(s.line) { // else its end is unknown
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	switch {
	case len(line) > 0 && !s.inHead:
		s.inHead = true
	case len(line) > 0:
		s.fieldLocked(line)
	case s.inHead: // an empty line before a request line means nothing
		s.endLocked()
	}
}

func (s *headScan) fieldLocked(line []byte) {
	if c := line[0] | 0x20; c != 'c' && c != 't' {
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		s.now.coding = true
	case bytes.EqualFold(name, []byte("Content-Length")):
		length, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		if err != nil || length < 0 || len(line) == len(s.line) || s.now.length && length != s.pending {
			s.lost = true // net/http refuses it as well
			return
		}
		s.now.length, s.pending = true, length
	}
}

func (s *headScan) endLocked() {
	if s.ready || s.now.coding { // pipelined heads, or a body of unknown length
		s.lost = true
	}
	if !s.ready {
		s.done, s.ready = s.now, true
	}
	if s.now.length {
		s.skip = s.pending
	}
	s.now, s.pending, s.inHead = framing{}, 0, false
}

// take returns the framing of the request whose handler is about to run.
func (s *headScan) take() framing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		s.lost = true
		return framing{unknown: true}
	}
	s.ready = false
	return s.done
}

// stop ends the watching: what follows is no HTTP.
func (s *headScan) stop() {
	s.mu.Lock()
	s.lost = true
	s.mu.Unlock()
}
