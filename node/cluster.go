package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/control"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/modules/peer"
	"github.com/orla-edge/orla/modules/store"
)

// Cluster says how a node finds the others. The zero value means that it is alone.
type Cluster struct {
	// Name of the cluster.
	Name string
	// Listen makes the node a hub; see [cluster.Topology]. Advertise is how others
	// reach it, if another address.
	Listen, Advertise string
	// Join are addresses of hubs.
	Join []string
	// SecretFile has the cluster's secret.
	SecretFile string
	// Peer is the address for other nodes to fetch content from; empty or "off" means
	// none. PeerAdvertise is how they reach it, if another address.
	Peer, PeerAdvertise string
	// BlobStore is the URL of a store that all nodes share; empty means none.
	BlobStore string
	// NATS, if not nil, is used instead of embedded servers.
	NATS *NATS
}

// NATS is somebody else's NATS.
type NATS = cluster.NATS

// member is a node's part in its cluster; the zero value is that of a node alone.
type member struct {
	topology cluster.Topology
	identity *identity.Node // nil without a secret
}

func (c Cluster) member(node string) (m member, err error) {
	m.topology = cluster.Topology{Name: c.Name, Listen: c.Listen, Advertise: c.Advertise, Join: c.Join, NATS: c.NATS}
	if c.SecretFile != "" {
		if m.topology.Secret, err = identity.ReadFile(c.SecretFile); err != nil {
			return m, err
		}
	}
	if err := m.topology.Validate(); err != nil {
		return m, err
	}
	if c.Name == "" && c.NATS == nil && (len(c.Join) > 0 || c.Listen != "" || c.SecretFile != "") {
		return m, errors.New("--cluster NAME is missing, the same on every node")
	}
	if m.topology.Secret.IsZero() {
		return m, nil
	}
	m.identity, err = m.topology.Secret.Node(node, m.topology.Role())
	return m, err
}

// peered reports whether the node listens for others.
func (n *Node) peered() bool { return n.member.identity != nil && wanted(n.cfg.Cluster.Peer) }

// peerURL is where the other nodes fetch content from this one; empty: nowhere.
func (n *Node) peerURL(ctx context.Context) string {
	ln, c := n.listeners.peer, n.cfg.Cluster
	if ln == nil {
		return ""
	}
	if c.PeerAdvertise != "" {
		return "https://" + c.PeerAdvertise
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return "https://" + net.JoinHostPort(host, port)
	}
	return "https://" + net.JoinHostPort(n.ownHost(ctx), port)
}

// ownHost is the name or address by which others most likely reach this machine: the
// one that hubs are told, or the one that it reaches them from.
func (n *Node) ownHost(ctx context.Context) string {
	c := n.cfg.Cluster
	for _, addr := range []string{c.Advertise, c.Listen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
			return host
		}
	}
	var d net.Dialer
	for _, addr := range c.Join {
		conn, err := d.DialContext(ctx, "udp", addr) // sends nothing
		if err != nil {
			continue
		}
		local, _, err := net.SplitHostPort(conn.LocalAddr().String())
		_ = conn.Close()
		if err == nil {
			return local
		}
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// peerServer serves content, and at a hub the API, to the cluster's nodes.
func (n *Node) peerServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/blobs/", peer.NewHandler(n.blobs, peer.Limits{}))
	if n.member.topology.Role() == identity.Hub {
		path, api := n.control.Handler()
		mux.Handle(path, n.passedOn(api))
	}
	srv := peer.NewServer(mux, n.member.identity.Server(identity.Hub, identity.Edge), n.log)
	return srv
}

// passedOn believes what another node says of where the calls come from that it passes
// on. Strangers do not reach the listener.
func (n *Node) passedOn(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, ok := n.member.identity.Peer(r.TLS)
		addr, err := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
		if ok && err == nil {
			r = r.WithContext(control.WithOrigin(r.Context(), control.Origin{Address: addr.String(), Via: name}))
		}
		api.ServeHTTP(w, r)
	})
}

// servePeers serves the other nodes until ctx ends, and then what they are getting
// for peerGrace.
func (n *Node) servePeers(ctx context.Context) error {
	srv := n.peerServer()
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), peerGrace)
		defer cancel()
		if srv.Shutdown(limit) != nil {
			_ = srv.Close() // they go on elsewhere
		}
	})
	defer func() {
		if !stop() {
			<-done
		}
	}()
	if err := srv.ServeTLS(n.listeners.peer, "", ""); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve other nodes: %w", err)
	}
	return nil
}

// newFetcher returns what gets content from the other nodes.
func (n *Node) newFetcher() (*peer.Fetcher, error) {
	var stores []peer.Store
	if url := n.cfg.Cluster.BlobStore; url != "" {
		common, err := store.Parse(url)
		if err != nil {
			return nil, fmt.Errorf("--blob-store: %w", err)
		}
		stores = append(stores, common)
	}
	client := &http.Client{}
	if n.member.identity != nil {
		client = peer.NewClient(n.member.identity.Client(identity.Edge), fetches)
	}
	return peer.New(peer.Config{
		Blobs: n.blobs, Client: client, Peers: func() []string { return n.control.Peers() },
		Parallel: fetches, Stall: fetchStall, Logger: n.log, Stores: stores,
	}), nil
}

const (
	peerGrace  = 5 * time.Second
	fetches    = 16
	fetchStall = 10 * time.Second
)

// urls are those at which the node serves, with a host that means something to others.
func (n *Node) urls(ctx context.Context) []string {
	var out []string
	for _, u := range n.listeners.urls() {
		if n.member.topology.Name != "" {
			u = strings.Replace(u, "://localhost:", "://"+n.ownHost(ctx)+":", 1)
		}
		out = append(out, u)
	}
	return out
}

// phaseName says how the node is, for others to see.
func (n *Node) phaseName() string {
	switch {
	case n.phase.Load() == starting:
		return "starting"
	case n.phase.Load() == draining:
		return "draining"
	case n.isDrained():
		return "drained"
	default:
		return "serving"
	}
}

// api is the API of this node. What changes something an edge passes on to a hub, with
// the caller's own token: the hub decides.
func (n *Node) api() (string, http.Handler) {
	path, own := n.control.Handler()
	if n.member.topology.Role() != identity.Edge {
		return path, own
	}
	hubs := &httputil.ReverseProxy{
		FlushInterval: -1,
		Transport:     &http.Transport{TLSClientConfig: n.member.identity.Client(identity.Hub), TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			if u, err := url.Parse(r.In.Context().Value(hubKey{}).(string)); err == nil { //nolint:forcetypeassert // set below
				r.SetURL(u)
			}
			r.SetXForwarded() // instead of what the caller says of itself
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			n.log.Warn("call not passed on to a hub", "error", err)
			unavailable(w, r, "the hub does not answer; what is served stays as it is: try again, or make the change at another hub")
		},
	}
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !control.Changes(r.URL.Path) {
			own.ServeHTTP(w, r)
			return
		}
		at := n.control.Hubs()
		if len(at) == 0 && control.Alone(r.URL.Path) {
			own.ServeHTTP(w, r)
			return
		}
		if len(at) == 0 {
			unavailable(w, r, "this node is an edge and hears of no hub that could make the change; see the node's log, or make it at a hub")
			return
		}
		hubs.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hubKey{}, at[0])))
	})
}

// unavailable answers a call of the API.
func unavailable(w http.ResponseWriter, r *http.Request, text string) {
	errs := connect.NewErrorWriter()
	if !errs.IsSupported(r) {
		http.Error(w, text, http.StatusServiceUnavailable)
		return
	}
	_ = errs.Write(w, r, connect.NewError(connect.CodeUnavailable, errors.New(text))) // a client that has gone is no event
}

// hubKey is the context key of the hub that a call is passed on to.
type hubKey struct{}
