package site

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/telemetry"
)

// serveFile answers with the representation of e that the request selects, or with
// what its preconditions and ranges make of it (RFC 9110 §13, §14).
func (s *Site) serveFile(w http.ResponseWriter, r *http.Request, e *entry, vary []string) {
	rep := e.negotiate(r.Header["Accept-Encoding"])
	v := validators{etag: rep.etag(), modified: s.modified, modifiedField: s.shared.lastModified}
	h := w.Header()
	setVary(h, vary)
	switch v.precondition(r.Header) {
	case http.StatusNotModified:
		h["Etag"] = rep.field(fieldETag)
		h["Cache-Control"] = e.cacheControl
		w.WriteHeader(http.StatusNotModified)
		return
	case http.StatusPreconditionFailed:
		s.fail(w, http.StatusPreconditionFailed, "precondition failed\n")
		return
	}

	// A Range is defined for GET alone (§14.2), so that HEAD tells what a GET
	// without one would.
	if lines := r.Header["Range"]; len(lines) == 1 && r.Method == http.MethodGet && v.rangeHolds(r.Header) {
		switch ranges, answer := parseRange(lines[0], rep.size); answer {
		case rangePartial:
			s.servePartial(w, r, e, rep, ranges)
			return
		case rangeUnsatisfiable:
			h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(rep.size, 10)}
			s.fail(w, http.StatusRequestedRangeNotSatisfiable, "range not satisfiable\n")
			return
		}
	}
	s.serveWhole(w, r, e, rep)
}

// setFields sets what describes a representation, whole or in part.
func (s *Site) setFields(h http.Header, e *entry, rep *representation) {
	h["Content-Type"] = e.contentType
	h["Cache-Control"] = e.cacheControl
	h["Etag"] = rep.field(fieldETag)
	h["Accept-Ranges"] = fieldAcceptRanges
	h["X-Content-Type-Options"] = fieldNosniff
	if s.shared.lastModified != nil {
		h["Last-Modified"] = s.shared.lastModified
	}
	if rep.coding != codingIdentity {
		h["Content-Encoding"] = contentEncoding[rep.coding]
	}
}

func (s *Site) serveWhole(w http.ResponseWriter, r *http.Request, e *entry, rep *representation) {
	var c content
	if r.Method != http.MethodHead {
		var err error
		if c, err = s.open(rep); err != nil {
			s.unreadable(w, r, e, err)
			return
		}
		defer c.close()
	}
	h := w.Header()
	s.setFields(h, e, rep)
	h["Content-Length"] = rep.field(fieldLength)
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		s.send(r, e, c.writeTo(w, byteRange{0, rep.size}))
	}
}

// servePage answers a path that does not exist with a 404.html. It has no
// validators: preconditions and ranges are only about successful answers
// (RFC 9110 §13.2.1, §14.2).
func (s *Site) servePage(w http.ResponseWriter, r *http.Request, e *entry) {
	rep := e.negotiate(r.Header["Accept-Encoding"])
	var c content
	if r.Method != http.MethodHead {
		var err error
		if c, err = s.open(rep); err != nil {
			s.unreadable(w, r, e, err)
			return
		}
		defer c.close()
	}
	h := w.Header()
	setVary(h, e.varies())
	s.setFields(h, e, rep)
	delete(h, "Etag")
	delete(h, "Last-Modified")
	delete(h, "Accept-Ranges")
	h["Content-Length"] = rep.field(fieldLength)
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		s.send(r, e, c.writeTo(w, byteRange{0, rep.size}))
	}
}

// servePartial answers a GET with 206: one range as it is, several as
// multipart/byteranges (RFC 9110 §14.6).
func (s *Site) servePartial(w http.ResponseWriter, r *http.Request, e *entry, rep *representation, ranges []byteRange) {
	c, err := s.open(rep)
	if err != nil {
		s.unreadable(w, r, e, err)
		return
	}
	defer c.close()
	h := w.Header()
	s.setFields(h, e, rep)
	if len(ranges) == 1 {
		h["Content-Range"] = []string{ranges[0].contentRange(rep.size)}
		h["Content-Length"] = []string{strconv.FormatInt(ranges[0].length, 10)}
		w.WriteHeader(http.StatusPartialContent)
		s.send(r, e, c.writeTo(w, ranges[0]))
		return
	}
	parts := partsOf(e, rep, ranges)
	h["Content-Type"] = []string{"multipart/byteranges; boundary=" + parts.boundary}
	h["Content-Length"] = []string{strconv.FormatInt(parts.size(), 10)}
	w.WriteHeader(http.StatusPartialContent)
	s.send(r, e, parts.writeTo(w, &c))
}

// send looks at how the writing of a body ended. When the content could not be read
// after all, the only honest end is a broken connection.
func (s *Site) send(r *http.Request, e *entry, err error) {
	if _, unread := errors.AsType[*readError](err); !unread {
		return // complete, or the client went away
	}
	telemetry.RequestFrom(r.Context()).Err = fmt.Errorf("send %q: %w", e.path, err)
	panic(http.ErrAbortHandler)
}

// unreadable answers for a content that the store does not give.
func (s *Site) unreadable(w http.ResponseWriter, r *http.Request, e *entry, err error) {
	telemetry.RequestFrom(r.Context()).Err = fmt.Errorf("read %q: %w", e.path, err)
	s.fail(w, http.StatusInternalServerError, "internal server error\n")
}

// content is an opened representation: its bytes, or its file if it is large.
type content struct {
	bytes []byte
	file  *os.File
}

// open gets a representation ready to be sent. The caller closes the content.
func (s *Site) open(rep *representation) (content, error) {
	if rep.size > maxCachedBytes {
		f, err := s.blobs.Open(rep.digest)
		return content{file: f}, err
	}
	b, ok := s.cache.get(rep.digest)
	if !ok {
		var err error
		if b, err = s.blobs.Read(rep.digest, maxCachedBytes); err != nil {
			return content{}, err
		}
		s.cache.put(rep.digest, b)
	}
	if int64(len(b)) != rep.size {
		return content{}, fmt.Errorf("blob %s has %d bytes, the release says %d", rep.digest, len(b), rep.size)
	}
	return content{bytes: b}, nil
}

func (c *content) close() {
	if c.file != nil {
		_ = c.file.Close() // only read from
	}
}

// readError is a failure of the content's side, not the client's.
type readError struct{ err error }

func (e *readError) Error() string { return "content could not be read to its end: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// writeTo writes a part of the content. From a file, the kernel copies if w allows
// it (sendfile).
func (c *content) writeTo(w io.Writer, r byteRange) error {
	if c.file == nil {
		_, err := w.Write(c.bytes[r.start:r.end()])
		return err
	}
	if _, err := c.file.Seek(r.start, io.SeekStart); err != nil {
		return &readError{err}
	}
	_, err := io.CopyN(w, c.file, r.length)
	_, disk := errors.AsType[*fs.PathError](err)
	if disk || errors.Is(err, io.EOF) {
		return &readError{err}
	}
	return err
}

// parts is a multipart/byteranges body.
type parts struct {
	boundary string
	ranges   []byteRange
	heads    []textproto.MIMEHeader
}

// partsOf takes the boundary from the digest, which the content cannot contain.
func partsOf(e *entry, rep *representation, ranges []byteRange) parts {
	p := parts{
		boundary: strings.Trim(rep.etag(), `"`),
		ranges:   ranges,
		heads:    make([]textproto.MIMEHeader, len(ranges)),
	}
	for i, r := range ranges {
		p.heads[i] = textproto.MIMEHeader{
			"Content-Range": {r.contentRange(rep.size)},
			"Content-Type":  e.contentType,
		}
	}
	return p
}

// size returns the length of the body.
func (p *parts) size() int64 {
	var counted countingWriter
	_ = p.write(&counted, func(_ io.Writer, r byteRange) error {
		counted += countingWriter(r.length)
		return nil
	})
	return int64(counted)
}

func (p *parts) writeTo(w io.Writer, c *content) error {
	return p.write(w, c.writeTo)
}

// write writes the frame of the body, and has each part's bytes written by part.
// They go to w itself, not through the multipart writer, whose parts hide w's
// sendfile.
func (p *parts) write(w io.Writer, part func(io.Writer, byteRange) error) error {
	m := multipart.NewWriter(w)
	if err := m.SetBoundary(p.boundary); err != nil {
		return err
	}
	for i, head := range p.heads {
		if _, err := m.CreatePart(head); err != nil {
			return err
		}
		if err := part(w, p.ranges[i]); err != nil {
			return err
		}
	}
	return m.Close()
}

// countingWriter counts what is written.
type countingWriter int64

func (n *countingWriter) Write(p []byte) (int, error) {
	*n += countingWriter(len(p))
	return len(p), nil
}
