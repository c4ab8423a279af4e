package control

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/leaks"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/seal"
	"github.com/orla-edge/orla/site"
	"github.com/orla-edge/orla/telemetry"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const adminSecret = "orla_test_admin"

// plane is a control service over a real register, store and dispatcher, served
// over HTTP.
type plane struct {
	t     *testing.T
	s     *Service
	url   string
	blobs *modules.Dir
	first chan struct{} // closed when the first state has been applied
	leave func()        // ends its part in the cluster; it goes on following the register
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := newPlaneOf(t, "n1", cluster.Topology{})
	<-p.first
	return p
}

// newPlaneOf is a plane with its place in a cluster. Its content is served to the others
// if the topology has a secret.
func newPlaneOf(t *testing.T, node string, topology cluster.Topology) *plane {
	t.Helper()
	dir := t.TempDir()
	var s *Service
	register, err := cluster.New(cluster.Config{Dir: dir, Node: node, Topology: topology, Beat: func() []byte { return s.Beat() }})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := modules.OpenDir(dir + "/blobs")
	if err != nil {
		t.Fatal(err)
	}
	engine, err := runtime.New(t.Context(), runtime.Config{Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	d := dispatch.New(dispatch.Config{
		Node: node, Blobs: blobs, Engine: engine,
		Grants: func(ctx context.Context, app string, f *orlav1.Function) (runtime.Grants, error) {
			return s.Grants(ctx, app, f)
		},
	})
	fetch := peer.Config{Blobs: blobs, Peers: func() []string { return s.Peers() }}
	var peers *httptest.Server
	var at string
	if !topology.Secret.IsZero() {
		id, err := topology.Secret.Node(node, topology.Role())
		if err != nil {
			t.Fatal(err)
		}
		peers = httptest.NewUnstartedServer(peer.NewHandler(blobs, peer.Limits{}))
		peers.TLS = id.Server(identity.Hub, identity.Edge)
		peers.StartTLS()
		at, fetch.Client = peers.URL, peer.NewClient(id.Client(identity.Edge), 4)
	}
	s = New(Config{
		KV: cluster.NewKV(register, cluster.KVConfig{}), SecretKey: key,

		Node: node, Version: "test", URLs: []string{"http://localhost:8080"}, AdminToken: adminSecret, Register: register, Peer: at,
		Audit: cluster.NewAudit(register), AuditFile: dir + "/audit.log",
		Blobs: blobs, Fetcher: peer.New(fetch), Dispatcher: d, Compressor: site.NewCompressor(blobs), Tail: telemetry.NewTail(telemetry.TailConfig{}), Logger: discard(),
	})
	ctx, stop := context.WithCancel(context.Background())
	taking, leave := context.WithCancel(ctx)
	p := &plane{t: t, s: s, blobs: blobs, first: make(chan struct{}), leave: leave}
	var once sync.Once
	var running sync.WaitGroup
	done := make(chan error, 1)
	go func() {
		done <- register.Run(ctx, func(ctx context.Context, u cluster.Update) error {
			defer once.Do(func() { close(p.first) })
			return s.Apply(ctx, u)
		})
	}()
	if !topology.Secret.IsZero() {
		running.Go(func() { _ = s.Run(taking) })
	} else {
		running.Go(func() { s.ledger.run(taking) })
	}
	mux := http.NewServeMux()
	mux.Handle(s.Handler())
	server := httptest.NewServer(mux)
	p.url = server.URL
	t.Cleanup(func() {
		server.Close()
		leave()
		running.Wait()
		stop()
		if err := errors.Join(<-done, register.Close()); err != nil {
			t.Errorf("register: %v", err)
		}
		if peers != nil {
			fetch.Client.CloseIdleConnections()
			peers.Close()
		}
		d.Close()
		if err := errors.Join(engine.Close(context.Background()), blobs.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// as returns a client that shows a token; an empty one shows none.
func (p *plane) as(secret string) orlav1connect.ControlServiceClient {
	transport := &http.Transport{}
	p.t.Cleanup(transport.CloseIdleConnections)
	return orlav1connect.NewControlServiceClient(&http.Client{Transport: bearer{secret, transport}}, p.url)
}

type bearer struct {
	secret string
	next   http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.secret != "" {
		r.Header.Set("Authorization", "Bearer "+b.secret)
	}
	return b.next.RoundTrip(r)
}

func (p *plane) admin() orlav1connect.ControlServiceClient { return p.as(adminSecret) }

// runDeploy runs a Deploy call to its end.
func runDeploy(t *testing.T, c orlav1connect.ControlServiceClient, req *orlav1.DeployRequest) (*orlav1.DeployResponse, error) {
	t.Helper()
	stream, err := c.Deploy(t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var last *orlav1.DeployResponse
	for stream.Receive() {
		last = stream.Msg()
	}
	return last, stream.Err()
}

// mustDeploy deploys a route set that answers every path with body.
func (p *plane) mustDeploy(name, host, body string) *orlav1.Live {
	p.t.Helper()
	res, err := runDeploy(p.t, p.admin(), &orlav1.DeployRequest{Manifest: answering(name, host, body)})
	if err != nil {
		p.t.Fatal(err)
	}
	return res.GetLive()
}

func answering(name, host, body string) *orlav1.Manifest {
	return &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{host},
		Routes: []*orlav1.Route{{
			Match:  &orlav1.Match{Path: "/*"},
			Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200, Body: body}},
		}},
	}
}

// get asks the data plane.
func (p *plane) get(url string) string {
	w := noted{httptest.NewRecorder(), &telemetry.Request{}}
	r := httptest.NewRequest(http.MethodGet, url, nil)
	p.s.cfg.Dispatcher.ServeHTTP(w, r.WithContext(telemetry.WithRequest(r.Context(), w.info)))
	return strings.TrimSpace(w.Body.String())
}

// noted notes the status, as the server does.
type noted struct {
	*httptest.ResponseRecorder
	info *telemetry.Request
}

func (w noted) WriteHeader(status int) {
	w.info.Status = status
	w.ResponseRecorder.WriteHeader(status)
}

// refused checks an error's code and that its text names what it should.
func refused(t *testing.T, what string, err error, code connect.Code, parts ...string) {
	t.Helper()
	if connect.CodeOf(err) != code {
		t.Errorf("%s: %v, want code %v", what, err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q does not say %q", what, err, part)
		}
	}
}
