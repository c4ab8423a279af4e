package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Files arrive whole by every way: sendfile, copying, HTTP/2's frames; in full
// and in ranges.
func TestFiles(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB: many pieces
	name := filepath.Join(t.TempDir(), "file.bin")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		switch r.URL.Path {
		case "/serve":
			http.ServeContent(w, r, "file.bin", time.Time{}, f)
		case "/copy":
			io.Copy(w, f)
		case "/memory":
			w.(io.ReaderFrom).ReadFrom(bytes.NewReader(content))
		}
	})})
	for _, tt := range []struct {
		path, ranges string
		want         []byte
	}{
		{"/serve", "", content},
		{"/serve", "bytes=5-2000004", content[5:2000005]},
		{"/serve", "bytes=-7", content[len(content)-7:]},
		{"/copy", "", content},
		{"/memory", "", content},
	} {
		for _, way := range []string{"h1 http", "h1 https", "h2 https"} {
			proto, scheme, _ := strings.Cut(way, " ")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.url(scheme)+tt.path[1:], nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.ranges != "" {
				req.Header.Set("Range", tt.ranges)
			}
			req.Header.Set("X-Request-Id", fmt.Sprintf("%s.%s%d", proto, scheme, len(tt.want)))
			resp, err := srv.client(t, proto).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("%s %s %s: %d bytes, %v, want %d", way, tt.path, tt.ranges, len(got), err, len(tt.want))
			}
			srv.log.await(t, "request", map[string]any{"bytes": float64(len(tt.want)), "request_id": req.Header.Get("X-Request-Id")})
		}
	}
}

// What a handler may use of its ResponseWriter, by assertion or by
// http.ResponseController.
func TestOptionalInterfaces(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if _, ok := w.(http.Flusher); !ok {
			t.Error("no Flusher")
		}
		for name, err := range map[string]error{
			"SetReadDeadline":  rc.SetReadDeadline(time.Now().Add(time.Hour)),
			"SetWriteDeadline": rc.SetWriteDeadline(time.Now().Add(time.Hour)),
			"Flush":            rc.Flush(),
		} {
			if err != nil {
				t.Errorf("%s: %s: %v", r.Proto, name, err)
			}
		}
		if r.ProtoMajor == 2 {
			if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("Hijack over HTTP/2: %v, want ErrNotSupported", err)
			}
		}
		io.WriteString(w, "after all")
	})})
	for _, proto := range []string{"h1", "h2"} {
		resp, err := srv.client(t, proto).Get("https://" + srv.https + "/")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "after all" {
			t.Errorf("%s: %q", proto, got)
		}
	}
}

func TestInformationalAnswers(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK) // ignored
	})})
	c := srv.dial(t, "")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	got, _ := io.ReadAll(c)
	if text := string(got); !strings.HasPrefix(text, "HTTP/1.1 103 ") || !strings.Contains(text, "HTTP/1.1 418 ") || strings.Count(text, "HTTP/1.1") != 2 {
		t.Errorf("answers %q, want 103 and 418", text)
	}
	srv.log.await(t, "request", map[string]any{"status": 418.0})
}

func TestHeadAndEmptyAnswers(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/text" {
			io.WriteString(w, "hello")
		}
	})})
	for _, tt := range []struct {
		method, path string
		length       int64
	}{{"HEAD", "/text", 5}, {"GET", "/empty", 0}, {"HEAD", "/empty", -1}} {
		for _, proto := range []string{"h1", "h2"} {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "https://"+srv.https+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.client(t, proto).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.ContentLength != tt.length && tt.length >= 0 || resp.Header.Get("Server") != "orla" {
				t.Errorf("%s %s %s: %d, length %d, %v", proto, tt.method, tt.path, resp.StatusCode, resp.ContentLength, resp.Header)
			}
			srv.log.await(t, "request", map[string]any{"method": tt.method, "path": tt.path, "bytes": 0.0})
		}
	}
}

// A WebSocket in all that matters here: both sides talk after the upgrade, for
// longer than any limit on requests.
func TestUpgrade(t *testing.T) {
	const grace = 50 * time.Millisecond
	srv := start(t, Config{
		Limits: Limits{BodyGrace: grace, Idle: grace, Header: grace},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			h := w.Header()
			fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Request-Id: %s\r\n\r\n",
				r.Header.Get("Upgrade"), h.Get("X-Request-Id"))
			rw.Flush()
			io.Copy(c, rw)
		}),
	})
	for _, alpn := range []string{"", "http/1.1"} {
		c := srv.dial(t, alpn)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("X-Request-Id") == "" {
			t.Fatalf("%v, %v", resp, err)
		}
		for range 3 {
			time.Sleep(2 * grace)
			io.WriteString(c, "ping\n")
			if line, err := br.ReadString('\n'); line != "ping\n" {
				t.Fatalf("over %q: %q, %v", alpn, line, err)
			}
		}
		c.Close()
	}
	srv.log.await(t, "request", map[string]any{"status": 101.0})
}

func TestExpectContinue(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	c := srv.dial(t, "")
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
	br := bufio.NewReader(c)
	if line, err := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v, want 100", line, err)
	}
	br.ReadString('\n')
	io.WriteString(c, "abc")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(resp.Body); string(got) != "abc" {
		t.Errorf("%q, want the body", got)
	}
}

// TestBodyLeftByADuplexHandler: a handler that may read and write at the same time, and
// answers without having read, costs its client the connection only if much is left.
func TestBodyLeftByADuplexHandler(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/some" {
			_, _ = io.ReadFull(r.Body, make([]byte, 2))
		}
		w.WriteHeader(http.StatusUnauthorized)
	})})
	for _, tt := range []struct {
		name, path, header string
		body               string
		kept               bool
	}{
		{"nothing read", "/", "Content-Length: 9", "buy bread", true},
		{"some read", "/some", "Content-Length: 9", "buy bread", true},
		{"as much as is read", "/", "Content-Length: 200000", strings.Repeat("x", 200_000), true},
		{"more", "/", "Content-Length: 300000", strings.Repeat("x", 300_000), false},
		{"a client that waits", "/", "Expect: 100-continue\r\nContent-Length: 9", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.http)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for n := range 3 {
				_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", tt.path, tt.header, tt.body)
				if n > 0 && !tt.kept {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != http.StatusUnauthorized {
					t.Fatalf("answer %d: %v, %v", n+1, res, err)
				}
				res.Body.Close()
				if res.Close == tt.kept {
					t.Errorf("answer %d says that the connection closes: %t", n+1, res.Close)
				}
			}
		})
	}
	if strings.Contains(srv.log.String(), "panic") {
		t.Errorf("it panicked: %s", srv.log)
	}
}
