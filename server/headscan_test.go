package server

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestHeadScan(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tt := range []struct {
		name, stream string
		want         framing // of the last of its requests
		requests     int
	}{
		{"plain", get, framing{}, 1},
		{"length", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", framing{length: true}, 1},
		{"coding", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", framing{coding: true}, 1},
		{"both", "POST / HTTP/1.1\r\nCONTENT-LENGTH: 3\r\ntransfer-encoding:chunked\r\n\r\n", framing{length: true, coding: true}, 1},
		{"bare line feeds", "POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", framing{length: true, coding: true}, 1},
		{"folded", "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", framing{coding: true}, 1},
		{"next after a body", "POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n" + strings.Repeat("\nTransfer-Encoding: x\r\n", 2)[:30] + "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", framing{length: true}, 2},
		{"line feeds before", "\r\n\r\n" + get, framing{}, 1},
		{"long lines", "GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\nA: " + strings.Repeat("b", 5000) + "\r\nTransfer-Encoding: chunked\r\n\r\n", framing{coding: true}, 1},
		{"name only looks alike", "GET / HTTP/1.1\r\nTransfer-Encodings: chunked\r\nX-Content-Length: 1\r\n\r\n", framing{}, 1},
		{"after a chunked body", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, framing{unknown: true}, 2},
		{"length is no number", "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n" + get, framing{unknown: true}, 1},
		{"length has more than fits", "POST / HTTP/1.1\r\nContent-Length:" + strings.Repeat(" ", 60) + "3\r\n\r\n" + get, framing{unknown: true}, 1},
	} {
		for _, step := range []int{1, 7, len(tt.stream)} {
			s := new(headScan)
			taken := 0
			var got framing
			for i := 0; i < len(tt.stream); i += step {
				s.feed([]byte(tt.stream[i:min(i+step, len(tt.stream))]))
				if s.ready && taken < tt.requests {
					got = s.take()
					taken++
				}
			}
			for ; taken < tt.requests; taken++ {
				got = s.take()
			}
			if step < len(tt.stream) || tt.requests == 1 { // at once they are pipelined
				if got != tt.want {
					t.Errorf("%s in steps of %d: %+v, want %+v", tt.name, step, got, tt.want)
				}
			}
		}
	}
}

// FuzzHeadScan compares with net/http's own parser, which keeps what it removes
// from heads if they are read as MIME headers: whenever net/http accepts a
// request, the scan has to know its framing or say that it does not.
func FuzzHeadScan(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 03\r\n\r\nabc",
		"POST / HTTP/1.1\nHost: a\nTransfer-Encoding:\n chunked\n\n0\n\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		if step < 1 {
			step = 1
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		s := new(headScan)
		for i := 0; i < len(raw); i += step {
			s.feed(raw[i:min(i+step, len(raw))])
		}
		got := s.take()
		if got.unknown {
			return
		}
		want := reference(raw)
		if got.coding != want.coding || got.length != want.length {
			t.Fatalf("%q: %+v, want %+v (net/http: length %d, coding %v)", raw, got, want, r.ContentLength, r.TransferEncoding)
		}
	})
}

// reference reads the first head in the obvious way.
func reference(raw []byte) (f framing) {
	br := bufio.NewReader(bytes.NewReader(raw))
	for first := true; ; {
		line, err := br.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		switch {
		case err == io.EOF || line == "" && !first:
			return f
		case line == "":
			continue
		case !first:
			name, _, _ := strings.Cut(line, ":")
			f.coding = f.coding || strings.EqualFold(name, "Transfer-Encoding")
			f.length = f.length || strings.EqualFold(name, "Content-Length")
		}
		first = false
	}
}
