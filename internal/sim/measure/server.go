package measure

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serverOptions is a server: a hub has Routes, all others Remotes.
type serverOptions struct {
	Name     string
	Dir      string // keys; below it a hub's store
	Route    int    // port for other hubs; 0: none
	Routes   []int
	Remotes  []string // addresses to be a leaf of
	Accept   bool     // leaves
	identity *tls.Config
}

const (
	domain  = "hub"
	startIn = 30 * time.Second
	// reconnect is how often a leaf tries to connect, as an edge of the product does.
	reconnect = 250 * time.Millisecond
)

// start runs a server until it is shut down.
func (o serverOptions) start() (*server.Server, error) {
	if o.identity == nil {
		var err error
		if o.identity, err = loadIdentity(o.Dir); err != nil {
			return nil, err
		}
	}
	off := server.CompressionOpts{Mode: server.CompressionOff}
	opts := &server.Options{ServerName: o.Name, DontListen: true, NoSigs: true, NoLog: true}
	opts.LeafNode.Compression = off
	if o.Accept {
		opts.LeafNode.Host, opts.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
		opts.LeafNode.TLSConfig, opts.LeafNode.TLSTimeout = o.identity, 5
	}
	if o.Route != 0 {
		// Without a listener for clients the one for routes is never opened.
		opts.DontListen, opts.Host, opts.Port = false, "127.0.0.1", server.RANDOM_PORT
		// A relay must not isolate: its connection to the hub counts as one more leaf.
		opts.LeafNode.IsolateLeafnodeInterest = true
		opts.JetStream, opts.JetStreamDomain, opts.StoreDir, opts.SyncAlways = true, domain, o.Dir+"/"+o.Name, true
		opts.Cluster = server.ClusterOpts{
			Name: "sim", Host: "127.0.0.1", Port: o.Route, TLSConfig: o.identity, TLSTimeout: 5, Compression: off,
		}
		for _, port := range o.Routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
		}
	}
	if len(o.Remotes) > 0 {
		remote := &server.RemoteLeafOpts{TLS: true, TLSConfig: o.identity, TLSTimeout: 5, NoRandomize: true, Compression: off}
		for _, addr := range o.Remotes {
			remote.URLs = append(remote.URLs, &url.URL{Scheme: "tls", Host: addr})
		}
		opts.LeafNode.ReconnectInterval = reconnect
		opts.LeafNode.Remotes = []*server.RemoteLeafOpts{remote}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("make server %s: %w", o.Name, err)
	}
	srv.Start()
	if !srv.ReadyForConnections(startIn) {
		srv.Shutdown()
		return nil, fmt.Errorf("start server %s: not ready after %v", o.Name, startIn)
	}
	return srv, nil
}

// dial connects within the process.
func dial(srv *server.Server) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to server %s: %w", srv.Name(), err)
	}
	return nc, nil
}
