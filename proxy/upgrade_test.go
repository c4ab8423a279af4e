package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

func TestWebSocket(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	}))
	c, res, err := websocket.Dial(t.Context(), n.URL+"/socket?a=1", &websocket.DialOptions{Subprotocols: []string{"echo"}, HTTPClient: n.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if c.Subprotocol() != "echo" || res.Header.Get("Server") != "orla" {
		t.Errorf("subprotocol %q, header %v", c.Subprotocol(), res.Header)
	}
	c.SetReadLimit(1 << 20)
	for _, size := range []int{0, 1, 125, 126, 70_000, 500_000} {
		sent := bytes.Repeat([]byte{'x'}, size)
		if err := c.Write(t.Context(), websocket.MessageBinary, sent); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes came back of %d, %v", len(got), size, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close: %v", err)
	}
	if record := n.record(t); record.Err != nil {
		t.Errorf("cause = %v", record.Err)
	}
}

func TestUpgradeKeepsEarlyBytesAndHalfClose(t *testing.T) {
	n := nodeWith(t, Config{}, rawUpstream(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi ")
		_, _ = io.Copy(c, r) // to the client's end
		_, _ = io.WriteString(c, " bye")
	}))
	c := n.dial(t)
	write(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
		t.Fatalf("status %d, header %v", res.StatusCode, res.Header)
	}
	expect(t, r, "hi early")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expect(t, r, " bye")
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v, want EOF", err)
	}
	if record := n.record(t); record.Err != nil {
		t.Errorf("cause = %v", record.Err)
	}
}

func TestSwitchedConnectionEndsWithTheContext(t *testing.T) {
	n := nodeWith(t, Config{}, rawUpstream(t, func(c net.Conn) {
		answerWith("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")(c)
		_, _ = io.Copy(io.Discard, c)
	}))
	base, stop := context.WithCancel(t.Context())
	defer stop()
	inner := n.Config.Handler
	n.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(w, r.WithContext(base)) })
	c := n.dial(t)
	write(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	expect(t, c, "HTTP/1.1 101 Switching Protocols\r\n")
	stop()
	_, _ = io.Copy(io.Discard, c) // ends
	n.record(t)
}

func TestUpgradeToAnotherProtocolIsRefused(t *testing.T) {
	n := nodeWith(t, Config{}, rawUpstream(t, answerWith("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")))
	res := exchangeRaw(t, n, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if err := n.record(t).Err; res.StatusCode != 502 || err == nil {
		t.Errorf("status %d, cause %v; want 502", res.StatusCode, err)
	}
}

func TestRefusedUpgradePasses(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, r.Header.Get("Upgrade"))
	}))
	res := exchangeRaw(t, n, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 403 || string(body) != "echo" {
		t.Errorf("status %d, body %q, %v", res.StatusCode, body, err)
	}
}
