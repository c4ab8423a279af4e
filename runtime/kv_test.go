package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/host"
)

// memoryKV is a key-value store in memory. A Get of the key "wait" waits for its context.
type memoryKV struct {
	mu     sync.Mutex // guards the others
	values map[string][]byte
	at     map[string]uint64
	last   uint64
}

func newMemoryKV() *memoryKV { return &memoryKV{values: map[string][]byte{}, at: map[string]uint64{}} }

func (m *memoryKV) Get(ctx context.Context, store, key string) ([]byte, uint64, error) {
	if key == "wait" {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[store+"/"+key]
	if !ok {
		return nil, 0, host.ErrKVNotFound
	}
	return v, m.at[store+"/"+key], nil
}

func (m *memoryKV) Put(_ context.Context, store, key string, value []byte, how host.KVPut) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := store + "/" + key
	switch {
	case key == "broken":
		return 0, errors.New("the disk is on fire")
	case key == "" || len(key) > host.MaxKVKey:
		return 0, host.ErrKVInvalid
	case key == "full":
		return 0, host.ErrKVQuota
	case how.Expect != nil && *how.Expect != m.at[k]:
		return 0, host.ErrKVConflict
	}
	m.last++
	m.values[k], m.at[k] = value, m.last
	return m.at[k], nil
}

func (m *memoryKV) Delete(_ context.Context, store, key string, _ *uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, store+"/"+key)
	delete(m.at, store+"/"+key)
	return nil
}

func (m *memoryKV) List(_ context.Context, store, prefix, cursor string, limit int) (keys []string, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.values {
		if key, ok := strings.CutPrefix(k, store+"/"); ok && strings.HasPrefix(key, prefix) && key > cursor {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		return keys[:limit], keys[limit-1], nil
	}
	return keys, "", nil
}

// grant loads a function with grants.
func (b *bench) grant(t testing.TB, wasm []byte, f *orlav1.Function, g runtime.Grants) *runtime.Program {
	t.Helper()
	f.Name, f.Module = "fn", b.store.Put(t, wasm)
	p, err := b.LoadWith(t.Context(), "app", f, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

func kvGuest(t testing.TB) []byte { return guests.C(t, "internal/guests/c/kv.c") }

func TestKVInCGI(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.grant(t, kvGuest(t), &orlav1.Function{Kv: []string{"s", "t"}}, runtime.Grants{KV: newMemoryKV()})
	url, last := serve(t, p.Handler("/*", ""))
	large, longest := strings.Repeat("v", 1<<20), strings.Repeat("k", host.MaxKVKey)
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/get/s/k/100", "", "-1 - "},
		{"POST", "/put/s/k/0/7", "one", "-2"},
		{"POST", "/put/s/k/0/0", "one", "1"},
		{"POST", "/put/s/k/0/0", "one", "-2"},
		{"POST", "/put/s/k/60/1", "two", "2"},
		{"GET", "/get/s/k/100", "", "3 at two"},
		{"GET", "/get/s/k/3", "", "3 at two"},
		{"GET", "/get/s/k/2", "", "3 at "}, // too small: nothing is written
		{"GET", "/get/t/k/100", "", "-1 - "},
		{"GET", "/get/u/k/100", "", "-3 - "},
		{"GET", "/get/S/k/100", "", "-3 - "},
		{"POST", "/put/s/large/0/-1", large, "3"},
		{"GET", "/get/s/large/1048576", "", "1048576 at " + large},
		{"POST", "/put/s/large/0/-1", large + "v", "-5"},
		{"POST", "/put/s/full/0/-1", "x", "-6"},
		{"POST", "/put/s/broken/0/-1", "x", "-7"},
		{"POST", "/put/s/k/0/-2", "x", "-4"},
		{"POST", "/put/s//0/-1", "x", "-4"},
		{"POST", "/put/s/" + longest + "/0/-1", "x", "4"},
		{"POST", "/put/s/" + longest + "k/0/-1", "x", "-4"},
		{"GET", "/list/s///10/1000", "", "k," + longest + ",large,"},
		{"GET", "/list/s///1/1000", "", "k,…"},
		{"GET", "/list/s//k/1/1000", "", longest + ",…"},
		{"GET", "/list/s///10/258", "", "k,…"}, // the next does not fit
		{"GET", "/list/s///10/257", "", "-4"},
		{"GET", "/list/s///0/1000", "", "-4"},
		{"GET", "/list/s/l//10/1000", "", "large,"},
		{"GET", "/list/u///10/1000", "", "-3"},
		{"POST", "/delete/s/k/-1", "", "0"},
		{"POST", "/delete/s/k/-3", "", "-4"},
		{"GET", "/get/s/k/100", "", "-1 - "},
	} {
		if got := do(t, c.method, url+c.path, strings.NewReader(c.body)); got.body != c.want || last().Err != nil {
			t.Errorf("%s %.30s: %.60q, want %.60q", c.method, c.path, got.body, c.want)
		}
	}
	log := b.log.String()
	if n := strings.Count(log, `store \"u\" is not granted`); n != 2 || !strings.Contains(log, "the disk is on fire") {
		t.Errorf("the log tells %d times of store u, want twice, and why the store cannot be reached:\n%s", n, log)
	}
}

func TestKVEndsGuests(t *testing.T) {
	b := newBench(t, runtime.Config{})
	f := &orlav1.Function{Kv: []string{"s"}, Timeout: durationpb.New(100e6), Limits: &orlav1.Limits{HostCalls: 200}}
	p := b.grant(t, kvGuest(t), f, runtime.Grants{KV: newMemoryKV()})
	url, last := serve(t, p.Handler("/*", ""))
	for _, c := range []struct {
		path   string
		status int
		cause  string
	}{
		{"/wild/s", http.StatusBadGateway, "outside of its memory"},
		{"/get/s/wait/10", http.StatusGatewayTimeout, "timeout has passed"},
	} {
		got, rec := get(t, url+c.path), last()
		if got.StatusCode != c.status || rec.Err == nil || !strings.Contains(rec.Err.Error(), c.cause) {
			t.Errorf("%s: %d, %v, want %d, %q", c.path, got.StatusCode, rec.Err, c.status, c.cause)
		}
		if rec.CPU > rec.Guest/2 && c.status == http.StatusGatewayTimeout {
			t.Errorf("%s: the CPU clock ran for %v of %v", c.path, rec.CPU, rec.Guest)
		}
	}
}

func TestKVIsDeniedByDefault(t *testing.T) {
	b := newBench(t, runtime.Config{})
	_, err := b.tryLoad(t, kvGuest(t), &orlav1.Function{})
	var fe *runtime.FunctionError
	if !errors.As(err, &fe) || fe.Field != "kv" || !strings.Contains(fe.Problem, `kv = ["sessions"]`) {
		t.Errorf("Load without a grant: %v, want what to add", err)
	}
	p := b.load(t, kvGuest(t), &orlav1.Function{Kv: []string{"s"}})
	url, _ := serve(t, p.Handler("/*", ""))
	if got := get(t, url+"/get/s/k/10"); got.body != "-7 - " {
		t.Errorf("on a node without a store: %q, want -7", got.body)
	}
}

func TestImportsOfTheNodeAreRefused(t *testing.T) {
	b := newBench(t, runtime.Config{})
	for _, c := range []struct{ module, name, want string }{
		{"orla", "visit", "imports orla.visit, which no ABI offers"},
		{"orla", "fork", "imports orla.fork, which no ABI offers"},
		{"orla_kv", "watch", "orla_kv has get, put, delete and list"},
		{"orla_kv", "get", "imports orla_kv.get with another signature"},
	} {
		// (module (type (func)) (import MODULE NAME (func (type 0))) (memory (export "memory") 1) (func (type 0)) (export "_start" (func 1)))
		wasm := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02")
		imports := "\x01" + text(c.module) + text(c.name) + "\x00\x00"
		wasm = append(append(wasm, byte(len(imports))), imports...)
		wasm = append(wasm, "\x03\x02\x01\x00\x05\x03\x01\x00\x01\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01\x0a\x04\x01\x02\x00\x0b"...)
		if _, err := b.tryLoad(t, wasm, &orlav1.Function{Kv: []string{"s"}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s.%s: %v, want %q", c.module, c.name, err, c.want)
		}
	}
}

func text(s string) string { return string(rune(len(s))) + s }

func TestSecretsAreEnvironment(t *testing.T) {
	b := newBench(t, runtime.Config{})
	for _, value := range []string{"first", "second"} {
		p := b.grant(t, kvGuest(t), &orlav1.Function{Kv: []string{"s"}, Env: map[string]string{"A": "1"}}, runtime.Grants{Secrets: map[string]string{"KEY": value}})
		url, _ := serve(t, p.Handler("/*", ""))
		if got := get(t, url+"/env/KEY").body + " " + get(t, url+"/env/A").body; got != "KEY="+value+" A=1" {
			t.Errorf("a CGI program sees %q, want KEY=%s", got, value)
		}
	}
	// Both at once: what one has in its image is not in that of the other.
	var urls []string
	for _, value := range []string{"first", "second"} {
		p := b.grant(t, guests.Go(t, "internal/guests/kv"), &orlav1.Function{Kv: []string{"sessions"}}, runtime.Grants{
			KV: newMemoryKV(), Secrets: map[string]string{"KEY": value},
		})
		url, _ := serve(t, p.Handler("/*", ""))
		urls = append(urls, url)
	}
	for i, want := range []string{"first", "second"} {
		if got := get(t, urls[i]+"/env?name=KEY").body; got != want {
			t.Errorf("a handler sees %q, want %q", got, want)
		}
	}
}

func TestKVInGo(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.grant(t, guests.Go(t, "internal/guests/kv"), &orlav1.Function{Kv: []string{"sessions"}}, runtime.Grants{KV: newMemoryKV()})
	url, _ := serve(t, p.Handler("/*", ""))
	for i := range 1200 { // more than a page, and more than a buffer
		if i < 3 || i > 1190 {
			do(t, "PUT", url+fmt.Sprintf("/a%04d", i), strings.NewReader("x"))
		}
	}
	large := strings.Repeat("v", 100_000)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/nothing", "", 404, "get \"nothing\": guest: no such key\n"},
		{"PUT", "/large", large, 200, ""},
		{"GET", "/large", "", 200, large},
		{"POST", "/n", "", 200, "1"},
		{"POST", "/n", "", 200, "2"},
		{"GET", "/?prefix=a119", "", 200, "a1191\na1192\na1193\na1194\na1195\na1196\na1197\na1198\na1199\n"},
		{"DELETE", "/n", "", 200, ""},
		{"GET", "/n", "", 404, "get \"n\": guest: no such key\n"},
		{"GET", "/n?store=other", "", 403, "get \"n\": guest: the function is not granted the store; add it to kv in orla.toml\n"},
		{"PUT", "/x", strings.Repeat("v", 1<<20+1), 413, "put \"x\": guest: a value has 1 MiB at most\n"},
	} {
		if got := do(t, c.method, url+c.path, strings.NewReader(c.body)); got.StatusCode != c.status || got.body != c.want {
			t.Errorf("%s %s: %d %.60q, want %d %.60q", c.method, c.path, got.StatusCode, got.body, c.status, c.want)
		}
	}
}
