package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/node"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "s3cret"

func TestExample(t *testing.T) {
	t.Run("natively", func(t *testing.T) {
		srv := httptest.NewServer(newHandler(token, slog.New(slog.DiscardHandler)))
		defer srv.Close()
		check(t, srv.URL)
	})
	t.Run("on a node", func(t *testing.T) {
		t.Setenv("GOFLAGS", "-buildvcs=false") // the same module in every commit
		check(t, deployed(t))
	})
}

// deployed runs a node, sets the secret, deploys the example and returns its URL.
func deployed(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	pkg, err := app.Pack(t.Context(), app.Options{Path: ".", Build: true, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("pack: %v\n%s", err, &out)
	}
	module, err := os.ReadFile("notes.wasm")
	if err != nil {
		t.Fatal(err)
	}
	guests.Warm(t, module)
	data := t.TempDir()
	guests.KeepCode(t, data)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	urls, ended := make(chan []string, 1), make(chan error, 1)
	go func() {
		ended <- node.Run(ctx, node.Config{
			Data: data, Output: io.Discard, Name: "n1", TLS: node.TLSOff, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0",
			Ready: func(all []string) { urls <- all },
		})
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var url string
	select {
	case all := <-urls:
		url = strings.TrimSuffix(all[0], "/")
	case err := <-ended:
		t.Fatal(err)
	}
	c, err := client.Find(client.Options{DataDir: data, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	set := &orlav1.SetSecretRequest{App: "go-notes", Name: "NOTES_TOKEN", Value: []byte(token), NoDeploy: true}
	if _, err := c.Control().SetSecret(t.Context(), connect.NewRequest(set)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Deploy(t.Context(), pkg, client.DeployOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	return url
}

func check(t *testing.T, url string) {
	t.Helper()
	for _, c := range []struct {
		method, path, body, token string
		status                    int
		want, reads               string
	}{
		{method: "GET", path: "/notes/today", status: 404, want: "no such note"},
		{method: "PUT", path: "/notes/today", body: "buy bread", status: 401, want: "knows the token"},
		{method: "PUT", path: "/notes/today", body: "buy bread", token: "guessed", status: 401},
		{method: "PUT", path: "/notes/today", body: "buy bread", token: token, status: 204},
		{method: "PUT", path: "/notes/later", body: "rest", token: token, status: 204},
		{method: "GET", path: "/notes/today", status: 200, want: "buy bread", reads: "1"},
		{method: "GET", path: "/notes/today", status: 200, want: "buy bread", reads: "2"},
		{method: "GET", path: "/notes", status: 200, want: "later\ntoday\n"},
		{method: "DELETE", path: "/notes/today", token: token, status: 204},
		{method: "GET", path: "/notes/today", status: 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(b), c.want) || res.Header.Get("Notes-Reads") != c.reads {
			t.Errorf("%s %s: %d %q, read %q times, %v; want %d with %q, read %q times",
				c.method, c.path, res.StatusCode, b, res.Header.Get("Notes-Reads"), err, c.status, c.want, c.reads)
		}
	}
}
