package node

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// output collects a node's log.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// api calls the node of that data directory.
func api(t testing.TB, data string, call func(context.Context, orlav1connect.ControlServiceClient) error) {
	t.Helper()
	c, err := client.Find(client.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := call(t.Context(), c.Control()); err != nil {
		t.Fatal(err)
	}
}

// holders returns the files below dir that contain text.
func holders(t testing.TB, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSecretsAndKeysOfANode: values are nowhere in the data directory or the log; they,
// and what functions keep, outlive a restart.
func TestSecretsAndKeysOfANode(t *testing.T) {
	const one, two = "hunter2-the-first-value", "hunter2-the-second-value"
	data, log := t.TempDir(), new(output)
	compiler, err := guests.Compiler(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"orla.toml": "name = \"shop\"\n[functions.api]\nmodule = \"kv.wasm\"\nsecrets = [\"KEY\"]\nkv = [\"s\"]\n" +
			"[functions.go]\nmodule = \"go.wasm\"\nroutes = [\"/env\"]\nsecrets = [\"KEY\"]\nkv = [\"s\"]\n[[routes]]\nmatch = { path = \"/*\" }\nfunction = \"api\"\n",
		"kv.wasm": string(guests.C(t, "internal/guests/c/kv.c")), "go.wasm": string(guests.Go(t, "internal/guests/kv")),
	}
	set := func(value string) {
		t.Helper()
		api(t, data, func(ctx context.Context, c orlav1connect.ControlServiceClient) error {
			_, err := c.SetSecret(ctx, connect.NewRequest(&orlav1.SetSecretRequest{App: "shop", Name: "KEY", Value: []byte(value)}))
			return err
		})
	}
	see := func(url, want string) {
		t.Helper()
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if _, body := get(t, c, url+"/env/KEY"); body != "KEY="+want {
			t.Errorf("the command sees %q, want %q", body, want)
		}
		if _, body := get(t, c, url+"/env?name=KEY"); body != want {
			t.Errorf("the handler sees %q, want %q", body, want)
		}
		if _, body := get(t, c, url+"/get/s/k/100"); body != "0 at " {
			t.Errorf("the key is %q, want it empty", body)
		}
	}
	t.Run("before", func(t *testing.T) {
		url := run(t, Config{Data: data, TLS: TLSOff, Output: log, CompileCommand: []string{compiler, guests.Child}})[0]
		set(one)
		deploy(t, data, files)
		if _, body := get(t, http.DefaultClient, url+"/put/s/k/0/0"); body != "1" {
			t.Fatalf("put: %q", body)
		}
		see(url, one)
		set(two)
		see(url, two)
		if _, body := get(t, http.DefaultClient, url+"/wild/s"); strings.Contains(body, "hunter2") {
			t.Errorf("a failure tells %q", body)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	t.Run("after", func(t *testing.T) {
		url := run(t, Config{Data: data, TLS: TLSOff, Output: log, CompileCommand: []string{compiler, guests.Child}})[0]
		see(url, two)
		api(t, data, func(ctx context.Context, c orlav1connect.ControlServiceClient) error {
			_, err := c.Rollback(ctx, connect.NewRequest(&orlav1.RollbackRequest{Name: "shop"}))
			return err
		})
		see(url, one)
	})
	if found := holders(t, data, "hunter2"); found != nil {
		t.Errorf("the value is in %q", found)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the value is in the log:\n%s", log)
	}
	info, err := os.Stat(filepath.Join(data, secretsKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v, want it for its owner alone", info.Mode(), err)
	}
}

func TestSecretsKey(t *testing.T) {
	dir := t.TempDir()
	first, _, err := secretsKey(dir, cluster.Topology{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := first.Seal([]byte("value"), "place")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := secretsKey(dir, cluster.Topology{})
	if err != nil {
		t.Fatal(err)
	}
	if value, err := again.Open(sealed, "place"); string(value) != "value" || err != nil {
		t.Errorf("the next start has another key: %v", err)
	}
	secret := identity.New()
	hub, old, err := secretsKey(dir, cluster.Topology{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Open(sealed, "place"); err == nil {
		t.Error("in a cluster the node uses a key of its own")
	}
	if value, err := old.Open(sealed, "place"); string(value) != "value" || err != nil {
		t.Errorf("a node that was alone cannot open what it has sealed: %v", err)
	}
	edge, _, err := secretsKey(t.TempDir(), cluster.Topology{Secret: secret.Edge()})
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err = hub.Seal([]byte("value"), "place"); err != nil {
		t.Fatal(err)
	}
	if value, err := edge.Open(sealed, "place"); string(value) != "value" || err != nil {
		t.Errorf("an edge cannot open what a hub has sealed: %v", err)
	}
	elses := cluster.Topology{NATS: &cluster.NATS{URL: "nats://127.0.0.1:4222"}}
	if key, _, err := secretsKey(t.TempDir(), elses); key != nil || err != nil {
		t.Errorf("nodes with somebody else's NATS and no secret have a key each: %v", err)
	}
	elses.Secret = secret
	if key, _, err := secretsKey(t.TempDir(), elses); err != nil {
		t.Error(err)
	} else if value, err := key.Open(sealed, "place"); string(value) != "value" || err != nil {
		t.Errorf("a node with somebody else's NATS cannot open what another has sealed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, secretsKeyFile), []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := secretsKey(dir, cluster.Topology{}); err == nil || !strings.Contains(err.Error(), "put a copy of it back") {
		t.Errorf("a damaged file: %v", err)
	}
}
