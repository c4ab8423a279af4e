package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestWebSocketThroughTheNode talks to an app server through every layer between,
// on both listeners, and over a route that changes headers.
func TestWebSocketThroughTheNode(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("echo "), message...)); err != nil {
				return
			}
		}
	}))
	defer upstream.Close()
	data := t.TempDir()
	urls := run(t, Config{Data: data})
	deploy(t, data, map[string]string{"orla.toml": "name = \"ws\"\n[[routes]]\nmatch = { path = \"/ws\" }\nproxy = { to = [\"" + upstream.URL + "\"] }\nheaders = { set = { X-By = \"edge\" } }\n"})
	c := trusting(t, data)
	c.Transport.(*http.Transport).ForceAttemptHTTP2 = false // a WebSocket upgrades HTTP/1.1
	for _, base := range urls {
		conn, res, err := websocket.Dial(t.Context(), strings.Replace(base, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPClient: c})
		if err != nil {
			t.Errorf("%s: %v", base, err)
			continue
		}
		if got := res.Header.Get("X-By"); got != "edge" {
			t.Errorf("%s: X-By = %q", base, got)
		}
		for _, message := range []string{"one", "two"} {
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "echo "+message {
				t.Errorf("%s: %q, %v", base, got, err)
			}
		}
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("%s: close: %v", base, err)
		}
	}
}
