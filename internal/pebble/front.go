//go:build linux

package pebble

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/ports"
)

// Operation is something that a client asks of an authority.
type Operation string

// What a client may ask (RFC 8555 §7.1, RFC 9773 §4).
const (
	Directory   Operation = "directory"
	NewNonce    Operation = "newNonce"
	NewAccount  Operation = "newAccount"
	NewOrder    Operation = "newOrder"
	Authz       Operation = "authorization"
	Challenge   Operation = "challenge"
	Finalize    Operation = "finalize"
	OrderState  Operation = "order"
	Certificate Operation = "certificate"
	RenewalInfo Operation = "renewalInfo"
	Other       Operation = "other"
)

// operation tells Pebble's paths apart.
func operation(path string) Operation {
	for _, p := range []struct {
		prefix string
		op     Operation
	}{
		{"/dir", Directory},
		{"/nonce-plz", NewNonce},
		{"/sign-me-up", NewAccount},
		{"/order-plz", NewOrder},
		{"/authZ/", Authz},
		{"/chalZ/", Challenge},
		{"/finalize-order/", Finalize},
		{"/my-order/", OrderState},
		{"/certZ/", Certificate},
		{"/draft-ietf-acme-ari-03/renewalInfo", RenewalInfo},
	} {
		if strings.HasPrefix(path, p.prefix) {
			return p.op
		}
	}
	return Other
}

// Order is one that the authority has accepted.
type Order struct {
	Time  time.Time // of the machine's clock
	Names []string
	// Replaces is the identifier of the certificate to be renewed (RFC 9773 §5), empty if
	// the client has not said so.
	Replaces string
}

// maxBody bounds a request's and an answer's body, in bytes.
const maxBody = 1 << 20

// front stands between the clients and Pebble.
type front struct {
	addr   string
	cert   tls.Certificate
	proxy  *httputil.ReverseProxy
	tries  *http.Transport
	server *http.Server // nil while closed
	served chan struct{}

	mu        sync.Mutex // guards what follows
	accepted  map[Operation][]time.Time
	orders    []Order
	held      map[Operation]*Hold
	answers   map[Operation]http.HandlerFunc
	offered   []string // empty: all
	failEvery int
	requests  int // since failEvery was set
}

func newFront(t testing.TB, certFile, keyFile string) *front {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &front{
		cert: cert, addr: ports.Address(t),
		accepted: make(map[Operation][]time.Time), held: make(map[Operation]*Hold), answers: make(map[Operation]http.HandlerFunc),
	}
}

// forward sends what comes to Pebble's address.
func (f *front) forward(addr string) {
	f.tries = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // our own process
	target := &url.URL{Scheme: "https", Host: addr}
	f.proxy = &httputil.ReverseProxy{
		Transport: f.tries,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which Pebble's URLs are made of
		},
		ModifyResponse: f.observe,
	}
}

// open begins to listen, at the same address as before.
func (f *front) open() error {
	if f.server != nil {
		return nil
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", f.addr)
	if err != nil {
		return err
	}
	f.served = make(chan struct{})
	f.server = &http.Server{
		Handler:   http.HandlerFunc(f.serve),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{f.cert}},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go func(s *http.Server, served chan struct{}) {
		defer close(served)
		_ = s.ServeTLS(ln, "", "") // until it is closed
	}(f.server, f.served)
	return nil
}

// close ends all connections.
func (f *front) close() {
	if f.server == nil {
		return
	}
	_ = f.server.Close() // the listener has no other errors
	<-f.served
	f.server = nil
	f.tries.CloseIdleConnections()
}

// orderKey is where a request's context has the order that it asks for.
type orderKey struct{}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	op := operation(r.URL.Path)
	answer, hold, fail := f.plan(op)
	if hold != nil && !hold.wait(r.Context()) {
		panic(http.ErrAbortHandler) // nobody is to take an empty answer for one
	}
	switch {
	case fail:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:serverInternal","detail":"this request was chosen to fail","status":503}`)
	case answer != nil:
		answer(w, r)
	default:
		if op == NewOrder {
			r = r.WithContext(context.WithValue(r.Context(), orderKey{}, parseOrder(body)))
		}
		f.proxy.ServeHTTP(w, r)
	}
}

// plan tells what is to happen to a request.
func (f *front) plan(op Operation) (answer http.HandlerFunc, hold *Hold, fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failEvery > 0 {
		f.requests++
		fail = f.requests%f.failEvery == 0
	}
	return f.answers[op], f.held[op], fail
}

// parseOrder reads what a client orders (RFC 8555 §7.4), signed as it is.
func parseOrder(body []byte) Order {
	o := Order{Time: time.Now()}
	var signed struct{ Payload string }
	var order struct {
		Identifiers []struct{ Value string }
		Replaces    string
	}
	if json.Unmarshal(body, &signed) != nil {
		return o // Pebble refuses it
	}
	text, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil || json.Unmarshal(text, &order) != nil {
		return o
	}
	o.Replaces = order.Replaces
	for _, id := range order.Identifiers {
		o.Names = append(o.Names, id.Value)
	}
	return o
}

// observe counts what Pebble has accepted, and leaves out challenges that are not to be
// offered.
func (f *front) observe(res *http.Response) error {
	if res.StatusCode >= 300 {
		return nil
	}
	op := operation(res.Request.URL.Path)
	f.mu.Lock()
	f.accepted[op] = append(f.accepted[op], time.Now())
	if order, ok := res.Request.Context().Value(orderKey{}).(Order); ok {
		f.orders = append(f.orders, order)
	}
	offered := f.offered
	f.mu.Unlock()
	if op != Authz || len(offered) == 0 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if body, err = onlyOffered(body, offered); err != nil {
		return err
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// onlyOffered leaves the challenges of the kinds in an authorization (RFC 8555 §7.1.4).
func onlyOffered(body []byte, kinds []string) ([]byte, error) {
	var authz map[string]any
	if err := json.Unmarshal(body, &authz); err != nil {
		return nil, fmt.Errorf("read authorization: %w", err)
	}
	challenges, _ := authz["challenges"].([]any)
	authz["challenges"] = slices.DeleteFunc(challenges, func(c any) bool {
		m, _ := c.(map[string]any)
		kind, _ := m["type"].(string)
		return !slices.Contains(kinds, kind)
	})
	return json.Marshal(authz)
}
