package cgi

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/runtime/host"
)

// ErrHead is what every fault of a response's head wraps, and a body of another length
// than the head says.
var ErrHead = errors.New("cgi: not a CGI response")

// MaxHead is the size in bytes that a response's head may have.
const MaxHead = 32 << 10

// Head is the head of a response (RFC 3875, 6.3).
type Head struct {
	Status int
	Header http.Header
	// Length is the Content-Length, or -1 if there is none.
	Length int64
}

// endOfHead looks for the empty line that ends a head. It begins at from, where a
// line of b begins, and returns the length of the head with that line, or 0 and where
// to begin once b has grown. Lines end with LF or CRLF.
func endOfHead(b []byte, from int) (end, next int) {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0, from
		}
		line := b[from : from+i]
		if from += i + 1; len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return from, from
		}
	}
}

// ParseHead reads a head, which ends with an empty line.
//
// A document response (6.2.1) has a Content-Type, and may have a Status; a Status
// alone does too, and then nobody guesses the type. A Location without a Status is a redirect: to a URL (6.2.3, 6.2.4),
// or to a path (6.2.2), which is sent to the client as well instead of being followed
// inside the node, so that the client's URL says what it sees. Programs that write the
// whole of the HTTP response ("nph-", 5) are refused.
func ParseHead(b []byte) (Head, error) {
	h := Head{Header: make(http.Header), Length: -1}
	if bytes.HasPrefix(b, []byte("HTTP/")) {
		return Head{}, fmt.Errorf("%w: the output begins with a status line, as that of an nph- program, which is not supported; print \"Status: 200 OK\" instead", ErrHead)
	}
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			break
		}
		if err := h.add(line); err != nil {
			return Head{}, err
		}
	}
	switch _, typed := h.Header["Content-Type"]; {
	case h.Status != 0:
	case h.Header.Get("Location") != "":
		h.Status = http.StatusFound
	case typed:
		h.Status = http.StatusOK
	default:
		return Head{}, fmt.Errorf("%w: the head has none of Content-Type, Location and Status", ErrHead)
	}
	return h, nil
}

func (h *Head) add(line []byte) error {
	name, value, ok := strings.Cut(string(line), ":")
	if !ok {
		return fmt.Errorf("%w: line %q is no header field (a CGI program prints its header, an empty line, then the body)",
			ErrHead, line[:min(len(line), 80)])
	}
	value = strings.Trim(value, " \t")
	if err := host.CheckField(name, value); err != nil {
		return fmt.Errorf("%w: %w", ErrHead, err)
	}
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Status":
		return h.status(value)
	case "Content-Length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || h.Header[name] != nil {
			return fmt.Errorf("%w: Content-Length %q", ErrHead, value)
		}
		value, h.Length = strconv.FormatUint(n, 10), int64(n)
	case "Content-Type", "Location":
		if h.Header[name] != nil {
			return fmt.Errorf("%w: more than one %s", ErrHead, name)
		}
	}
	h.Header[name] = append(h.Header[name], value)
	return nil
}

// status reads "404 Not Found" (6.3.3).
func (h *Head) status(value string) error {
	code, _, _ := strings.Cut(value, " ")
	n, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || n < 200 || n > 599 || h.Status != 0 {
		return fmt.Errorf("%w: Status %q is not one of 200 to 599", ErrHead, value)
	}
	h.Status = n
	return nil
}
