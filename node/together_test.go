package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// together is a cluster of nodes in this process: three hubs and an edge.
type together struct {
	t     *testing.T
	nodes map[string]*Node
	stops map[string]func()
	admin string // a token that is good everywhere
}

// newTogether runs them and waits until they know each other.
func newTogether(t *testing.T) *together {
	t.Helper()
	dir, secret := t.TempDir(), identity.New()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	hubSecret, edgeSecret := write("hub", secret.Reveal()), write("edge", secret.Edge().Reveal())
	c := &together{t: t, nodes: map[string]*Node{}, stops: map[string]func(){}}
	seed := ports.Address(t)
	ready := make(chan error, 8)
	for i, name := range []string{"h1", "h2", "h3", "e1"} {
		cfg := Config{
			Data: filepath.Join(dir, name), Name: name, TLS: TLSOff, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Output: io.Discard,
			Cluster: Cluster{Name: "lab", Join: []string{seed}, SecretFile: hubSecret, Peer: "127.0.0.1:0"},
		}
		switch {
		case name == "e1":
			cfg.Cluster.SecretFile, cfg.ReadyWhen = edgeSecret, ReadyCurrent
		case i == 0:
			cfg.Cluster.Listen = seed
		default:
			cfg.Cluster.Listen = ports.Address(t)
		}
		cfg.Ready = func([]string) { ready <- nil }
		c.start(cfg, ready)
	}
	for range c.nodes {
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	local := c.as("h1", c.local("h1"))
	c.until("all nodes know each other and the register takes changes", func() bool {
		for name, n := range c.nodes {
			if n.register.Ready() != nil || name == "e1" && len(n.control.Hubs()) < 3 {
				return false
			}
		}
		res, err := local.ListNodes(t.Context(), connect.NewRequest(&orlav1.ListNodesRequest{}))
		return err == nil && len(res.Msg.GetNodes()) == len(c.nodes)
	})
	c.admin = c.token(local, "boss", orlav1.Role_ROLE_ADMIN).GetSecret()
	c.until("the admin's token works everywhere", func() bool { return c.works(c.admin) == nil })
	return c
}

func (c *together) start(cfg Config, ended chan<- error) {
	n := newNode(cfg)
	c.nodes[cfg.Name] = n
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := n.live(ctx)
		ended <- err
		done <- err
	}()
	c.stops[cfg.Name] = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			c.t.Errorf("Run: %v", err)
		}
	})
	c.t.Cleanup(c.stops[cfg.Name])
}

func (c *together) until(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			c.t.Fatalf("never: %s", what)
		}
	}
}

// local returns the token of a node's own admin.
func (c *together) local(name string) string {
	b, err := os.ReadFile(filepath.Join(c.nodes[name].cfg.Data, "admin.token"))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// as returns a client of a node's API. What the client says of its own address nobody
// shall believe.
func (c *together) as(node, secret string) orlav1connect.ControlServiceClient {
	transport := &http.Transport{}
	c.t.Cleanup(transport.CloseIdleConnections)
	return orlav1connect.NewControlServiceClient(&http.Client{Transport: liar{secret, transport}}, c.nodes[node].listeners.adminURL())
}

type liar struct {
	secret string
	next   http.RoundTripper
}

func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+l.secret)
	r.Header.Set("X-Forwarded-For", "6.6.6.6")
	return l.next.RoundTrip(r)
}

func (c *together) token(api orlav1connect.ControlServiceClient, name string, role orlav1.Role, apps ...string) *orlav1.CreateTokenResponse {
	c.t.Helper()
	res, err := api.CreateToken(c.t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: name, Role: role, Apps: apps}))
	if err != nil {
		c.t.Fatal(err)
	}
	return res.Msg
}

// works returns why a token is not taken at some node.
func (c *together) works(secret string) error {
	for name := range c.nodes {
		_, err := c.as(name, secret).ListApps(c.t.Context(), connect.NewRequest(&orlav1.ListAppsRequest{}))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// nowhere returns an error if a token is still taken at some node.
func (c *together) nowhere(secret string) error {
	for name := range c.nodes {
		_, err := c.as(name, secret).ListApps(c.t.Context(), connect.NewRequest(&orlav1.ListAppsRequest{}))
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			return fmt.Errorf("%s: %w", name, errors.Join(errors.New("the token is taken"), err))
		}
	}
	return nil
}

// push makes a change through a node.
func (c *together) push(node, secret, name, body string) error {
	stream, err := c.as(node, secret).Deploy(c.t.Context(), connect.NewRequest(&orlav1.DeployRequest{Manifest: &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{name + ".test"},
		Routes: []*orlav1.Route{{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200, Body: body}}}},
	}}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
	}
	return stream.Err()
}

// TestTogether runs what follows in one cluster.
func TestTogether(t *testing.T) {
	c := newTogether(t)
	t.Run("tokens", c.tokens)
	t.Run("audit", c.audit)
	t.Run("logs", c.logs)
	t.Run("seen", c.seen)
	t.Run("cut off", c.cutOff)
}

// tokens are made and revoked at any node, and count at all of them within a second.
func (c *together) tokens(t *testing.T) {
	var took []time.Duration
	within := func(what string, ok func() error) {
		start := time.Now()
		var err error
		for time.Since(start) < time.Second {
			if err = ok(); err == nil {
				took = append(took, time.Since(start))
				return
			}
		}
		t.Errorf("%s: not within a second: %v", what, err)
	}
	for _, at := range []string{"h1", "h2", "h3", "e1"} {
		admin := c.as(at, c.admin)
		made := c.token(admin, "ci-"+at, orlav1.Role_ROLE_DEPLOYER, "shop")
		within("a token made at "+at, func() error { return c.works(made.GetSecret()) })
		for _, through := range []string{"h3", "e1"} {
			if err := c.push(through, made.GetSecret(), "shop", at+through); err != nil {
				t.Errorf("a deployer pushes shop through %s: %v", through, err)
			}
			if err := c.push(through, made.GetSecret(), "blog", "x"); connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("a deployer of shop pushes blog through %s: %v, want permission denied", through, err)
			}
			_, err := c.as(through, made.GetSecret()).ListTokens(t.Context(), connect.NewRequest(&orlav1.ListTokensRequest{}))
			if connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("a deployer lists tokens through %s: %v, want permission denied", through, err)
			}
		}
		if _, err := admin.RevokeToken(t.Context(), connect.NewRequest(&orlav1.RevokeTokenRequest{Id: made.GetToken().GetId()})); err != nil {
			t.Fatal(err)
		}
		within("the revocation at "+at, func() error { return c.nowhere(made.GetSecret()) })
	}
	t.Logf("until a token, or its revocation, counts everywhere: %v", took)
}

// audit tells, at every node, what was changed through any of them, and from where.
func (c *together) audit(t *testing.T) {
	if err := c.push("e1", c.admin, "audited", "one"); err != nil {
		t.Fatal(err)
	}
	if err := c.push("h2", c.admin, "audited", "two"); err != nil {
		t.Fatal(err)
	}
	if err := c.push("e1", "orla_guess", "audited", "three"); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatalf("a stranger's push: %v", err)
	}
	want := strings.Join([]string{
		"boss 127.0.0.1 e1 a hub audited release 1 ok",
		"boss 127.0.0.1  a hub audited release 2 ok",
		" 127.0.0.1 e1 a hub   unauthenticated",
	}, "\n")
	for _, at := range []string{"h1", "h2", "h3", "e1"} {
		got, err := c.audited(at)
		for end := time.Now().Add(time.Minute); (err != nil || got != want) && time.Now().Before(end); { // hubs bring their records after the call
			got, err = c.audited(at)
		}
		if err != nil || got != want {
			t.Errorf("the audit log at %s (%v):\n%s\nwant\n%s", at, err, got, want)
		}
	}
}

// audited is what a node tells of the app of that name and of strangers, a record a line,
// in the order of the changes.
func (c *together) audited(at string) (string, error) {
	stream, err := c.as(at, c.admin).ListAudit(c.t.Context(), connect.NewRequest(&orlav1.ListAuditRequest{}))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var records []*orlav1.AuditRecord
	for stream.Receive() {
		if r := stream.Msg().GetRecord(); r.GetApp() == "audited" || r.GetOutcome() == "unauthenticated" {
			records = append(records, r)
		}
	}
	slices.SortStableFunc(records, func(a, b *orlav1.AuditRecord) int {
		return a.GetTime().AsTime().Compare(b.GetTime().AsTime())
	})
	var lines []string
	for _, r := range records {
		hub := "a hub"
		if !strings.HasPrefix(r.GetNode(), "h") {
			hub = r.GetNode()
		}
		detail, _, _ := strings.Cut(r.GetDetail(), " at ")
		lines = append(lines, strings.Join([]string{r.GetToken(), r.GetAddress(), r.GetVia(), hub, r.GetApp(), detail, r.GetOutcome()}, " "))
	}
	return strings.Join(lines, "\n"), stream.Err()
}

// request asks every node for a path of the app.
func (c *together) request(app, path string) {
	c.t.Helper()
	client := trustingNobody(c.t)
	for name, n := range c.nodes {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+n.listeners.http[0].Addr().String()+path+"-"+name, http.NoBody)
		if err != nil {
			c.t.Fatal(err)
		}
		req.Host = app + ".test"
		res, err := client.Do(req)
		if err != nil {
			c.t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			c.t.Fatalf("GET %s at %s = %d", path, name, res.StatusCode)
		}
	}
}

// pathOf returns the path that a record is about; empty if it is no request's.
func pathOf(r *orlav1.TailLogsResponse) string {
	for _, a := range r.GetAttributes() {
		if a.GetName() == "path" {
			return a.GetValue()
		}
	}
	return ""
}

// logs come from every node, whichever is asked.
func (c *together) logs(t *testing.T) {
	if err := c.push("h1", c.admin, "logged", "x"); err != nil {
		t.Fatal(err)
	}
	c.request("logged", "/early")
	for _, at := range []string{"h1", "h2", "h3", "e1"} {
		for _, tt := range []struct {
			node  string
			lines uint32
			want  int // requests
		}{{"", 1000, 4}, {"", 2, 2}, {"e1", 1000, 1}, {"h2", 1000, 1}, {at, 1000, 1}} {
			stream, err := c.as(at, c.admin).TailLogs(t.Context(), connect.NewRequest(&orlav1.TailLogsRequest{Name: "logged", Lines: tt.lines, Node: tt.node}))
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			last := time.Time{}
			for stream.Receive() {
				r := stream.Msg()
				if r.GetTime().AsTime().Before(last) {
					t.Errorf("at %s: %v comes after %v", at, r, last)
				}
				last = r.GetTime().AsTime()
				if path := pathOf(r); path != "" {
					got++
					if path != "/early-"+r.GetNode() || tt.node != "" && r.GetNode() != tt.node {
						t.Errorf("at %s, --node %q: %s of node %s", at, tt.node, path, r.GetNode())
					}
				}
			}
			if err := stream.Err(); err != nil || got != tt.want {
				t.Errorf("at %s, --node %q, %d lines: %d requests, %v, want %d", at, tt.node, tt.lines, got, err, tt.want)
			}
			stream.Close()
		}
		stream, err := c.as(at, c.admin).TailLogs(t.Context(), connect.NewRequest(&orlav1.TailLogsRequest{Name: "logged", Node: "nobody"}))
		if err != nil {
			t.Fatal(err)
		}
		if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeNotFound {
			t.Errorf("at %s: the log of a node that is not there: %v", at, stream.Err())
		}
		stream.Close()
	}
	for _, at := range []string{"h1", "h2", "h3", "e1"} {
		c.followLogs(t, at)
	}
}

func (c *together) followLogs(t *testing.T, at string) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream, err := c.as(at, c.admin).TailLogs(ctx, connect.NewRequest(&orlav1.TailLogsRequest{Name: "logged", Follow: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetTime() != nil {
		t.Fatalf("following at %s begins with %v, %v, want the sign that it does", at, stream.Msg(), stream.Err())
	}
	c.request("logged", "/live")
	missing := map[string]bool{"/live-h1": true, "/live-h2": true, "/live-h3": true, "/live-e1": true}
	for len(missing) > 0 {
		if !stream.Receive() {
			t.Fatalf("following at %s ends without %v: %v", at, missing, stream.Err())
		}
		if r := stream.Msg(); pathOf(r) != "" {
			if !missing[pathOf(r)] || pathOf(r) != "/live-"+r.GetNode() {
				t.Errorf("at %s: unexpected %v", at, r)
			}
			delete(missing, pathOf(r))
		}
	}
	stop()
}

// seen tells what nodes say of themselves: metrics, health, and readiness by either
// policy.
func (c *together) seen(t *testing.T) {
	client := trustingNobody(t)
	// Hubs know an edge's state from the next that they hear of it.
	c.until("the hub counts four nodes that serve", func() bool {
		_, body := get(t, client, c.nodes["h1"].listeners.adminURL()+"/metrics")
		return strings.Contains(body, `orla_cluster_nodes{orla_node_state="serving"`) && strings.Contains(metricLine(body, `orla_node_state="serving"`), "} 4")
	})
	if err := c.push("h1", c.admin, "measured", "x"); err != nil {
		t.Fatal(err)
	}
	_, body := get(t, client, c.nodes["h1"].listeners.adminURL()+"/metrics")
	for _, name := range []string{"orla_cluster_heartbeat_age_seconds", "orla_cluster_refusals", "orla_cluster_propagation_seconds_count"} {
		if metricLine(body, name) == "" {
			t.Errorf("a hub has no metric %s", name)
		}
	}
	_, body = get(t, client, c.nodes["e1"].listeners.adminURL()+"/metrics")
	if metricLine(body, "orla_cluster_nodes") != "" {
		t.Error("an edge counts nodes, of which it knows nothing")
	}
	if status, body := get(t, client, c.nodes["e1"].listeners.adminURL()+"/healthz"); status != http.StatusOK || !strings.Contains(body, `"heartbeatMs":`) {
		t.Errorf("/healthz = %d %s, want how old the heartbeat is", status, body)
	}
}

// metricLine returns the first sample whose text has the part.
func metricLine(body, part string) string {
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// cutOff takes the hubs away from an edge: it serves on, and is ready or not as its
// policy says.
func (c *together) cutOff(t *testing.T) {
	for _, name := range []string{"h1", "h2", "h3"} {
		c.stops[name]()
	}
	e, client := c.nodes["e1"], trustingNobody(t)
	c.until("the edge says that it is not current", func() bool {
		status, body := get(t, client, e.listeners.adminURL()+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "no word from the cluster")
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.listeners.http[0].Addr().String()+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "measured.test"
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET / at an edge that is cut off: %v, %v", res, err)
	}
	res.Body.Close()
	if status, _ := get(t, client, e.listeners.adminURL()+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz = %d, want 200: it serves", status)
	}
}
