package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/orla-edge/orla/identity"
)

// link is a way to the register: a connection, and the embedded server that it goes
// through, unless the server is somebody else's.
type link struct {
	srv *server.Server // nil: somebody else's
	nc  *nats.Conn
}

// openLink makes the link that the topology asks for; the caller closes it. It calls
// failed with the cause when the embedded server cannot write its store, and suspect
// when messages may have been lost.
func (c *Cluster) openLink(failed func(error), suspect func()) (*link, error) {
	l := &link{}
	opts := clientOptions(c.log, suspect)
	where := ""
	if c.kind == external {
		more, err := c.cfg.Topology.NATS.options()
		if err != nil {
			return nil, err
		}
		opts, where = append(opts, more...), c.cfg.Topology.NATS.URL
	} else {
		srv, err := c.startServer(failed)
		if err != nil {
			return nil, err
		}
		l.srv = srv
		opts = append(opts, nats.InProcessServer(srv))
		if c.kind == onlyHub || c.kind == hub {
			key, err := userKey(c.cfg.Topology.Secret, identity.Hub, userHub)
			if err != nil {
				l.close()
				return nil, err
			}
			opts = append(opts, nats.Nkey(key.public, key.sign))
		}
	}
	nc, err := nats.Connect(where, opts...)
	if err != nil {
		l.close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	l.nc = nc
	return l, nil
}

func (l *link) close() {
	if l.nc != nil {
		l.nc.Close()
	}
	if l.srv != nil {
		stopServer(l.srv)
	}
}

// copies is how far the embedded server's own copies of the streams are.
func (l *link) copies() map[string]uint64 {
	info, err := l.srv.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return nil
	}
	has := map[string]uint64{}
	for _, acc := range info.AccountDetails {
		for _, stream := range acc.Streams {
			has[stream.Name] = stream.State.LastSeq
		}
	}
	return has
}

func clientOptions(log *slog.Logger, suspect func()) []nats.Option {
	return []nats.Option{
		nats.Name("orla"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(false),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ReconnectHandler(func(*nats.Conn) { suspect() }), nats.ClosedHandler(func(*nats.Conn) { suspect() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrSlowConsumer) {
				log.Warn("register connection", "error", err)
			}
			suspect()
		}),
	}
}

// options are those of a connection to somebody else's NATS.
func (n *NATS) options() ([]nats.Option, error) {
	var opts []nats.Option
	if n.Creds != "" {
		opts = append(opts, nats.UserCredentials(n.Creds))
	}
	if n.Nkey != "" {
		opt, err := nats.NkeyOptionFromSeed(n.Nkey)
		if err != nil {
			return nil, fmt.Errorf("read nkey seed %s: %w", n.Nkey, err)
		}
		opts = append(opts, opt)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.CA != "" {
		pem, err := os.ReadFile(n.CA)
		if err != nil {
			return nil, fmt.Errorf("read NATS authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read NATS authority %s: there is no certificate in PEM in it", n.CA)
		}
	}
	if n.Cert != "" || n.Key != "" {
		pair, err := tls.LoadX509KeyPair(n.Cert, n.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate for NATS: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if n.CA != "" || n.Cert != "" {
		opts = append(opts, nats.Secure(conf))
	}
	return opts, nil
}

// Users of the embedded servers.
const (
	userHub    = "nats hub"
	userSystem = "nats system"
	userEdge   = "nats edge"
)

// user is an nkey: what proves to a server who connects.
type user struct {
	public string
	seed   string
	sign   func(nonce []byte) ([]byte, error)
}

func userKey(s identity.Secret, role identity.Role, name string) (user, error) {
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, s.Seed(role, name))
	if err != nil {
		return user{}, fmt.Errorf("derive the key of %q: %w", name, err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return user{}, fmt.Errorf("derive the key of %q: %w", name, err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return user{}, fmt.Errorf("derive the key of %q: %w", name, err)
	}
	return user{public: public, seed: string(seed), sign: pair.Sign}, nil
}

// options are those of the embedded server.
func (c *Cluster) options() (*server.Options, error) {
	opts := &server.Options{
		ServerName: c.cfg.Node, DontListen: true, NoSigs: true, MaxPayload: maxPayload,
		PingInterval: 5 * time.Second, MaxPingsOut: 2,
	}
	if c.kind.embedded() {
		opts.JetStream, opts.StoreDir, opts.SyncAlways = true, c.natsPath(), true
		opts.JetStreamMaxStore, opts.JetStreamMaxMemory = maxStore, maxMemory
		opts.JetStreamDomain = domainHub
	}
	t := c.cfg.Topology
	switch c.kind {
	case alone:
		opts.JetStreamDomain = domainSolo
		return opts, nil
	case edge:
		return opts, c.edgeOptions(opts)
	case onlyHub, hub:
	case external:
		return nil, errors.New("cluster: a node with somebody else's NATS has no server")
	}
	id, err := t.Secret.Node(c.cfg.Node, identity.Hub)
	if err != nil {
		return nil, err
	}
	host, port, err := splitAddr(t.Listen)
	if err != nil {
		return nil, err
	}
	opts.LeafNode = server.LeafNodeOpts{
		Host: hostOrAny(host), Port: port + 1, TLSConfig: id.Server(identity.Hub, identity.Edge), TLSTimeout: tlsTimeout,
		Compression: server.CompressionOpts{Mode: server.CompressionOff}, IsolateLeafnodeInterest: true,
	}
	advertised := ""
	if t.Advertise != "" {
		advertised = t.Advertise
		h, p, err := splitAddr(advertised)
		if err != nil {
			return nil, err
		}
		opts.LeafNode.Advertise = net.JoinHostPort(h, strconv.Itoa(p+1))
	}
	if c.kind == hub {
		// Routes wait for a listener for clients. It takes nobody without a hub's key.
		opts.DontListen, opts.Host, opts.Port = false, "127.0.0.1", server.RANDOM_PORT
		opts.TLSConfig, opts.TLSTimeout = id.Server(identity.Hub), tlsTimeout
		opts.Cluster = server.ClusterOpts{
			NoAdvertise: true, Name: t.Name, Host: hostOrAny(host), Port: port, Advertise: advertised,
			TLSConfig: id.Both(), TLSTimeout: tlsTimeout, Compression: server.CompressionOpts{Mode: server.CompressionOff},
		}
		opts.Routes, err = urls("nats", t.Join, 0)
		if err != nil {
			return nil, err
		}
	}
	return opts, c.users(opts)
}

// tlsTimeout is how long a handshake between nodes may take, in seconds.
const tlsTimeout = 5

func hostOrAny(host string) string {
	if host == "" {
		return "0.0.0.0"
	}
	return host
}

// urls turns addresses into NATS URLs, with ports so much higher.
func urls(scheme string, addrs []string, higher int) ([]*url.URL, error) {
	var out []*url.URL
	for _, addr := range addrs {
		host, port, err := splitAddr(addr)
		if err != nil {
			return nil, err
		}
		out = append(out, &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(port+higher))})
	}
	return out, nil
}

// edgeOptions makes the server a leaf of the hubs'.
func (c *Cluster) edgeOptions(opts *server.Options) error {
	t := c.cfg.Topology
	id, err := t.Secret.Node(c.cfg.Node, identity.Edge)
	if err != nil {
		return err
	}
	key, err := userKey(t.Secret, identity.Edge, userEdge)
	if err != nil {
		return err
	}
	hubs, err := urls("tls", t.Join, 1)
	if err != nil {
		return err
	}
	opts.LeafNode.ReconnectInterval = 250 * time.Millisecond
	opts.LeafNode.Remotes = []*server.RemoteLeafOpts{{
		URLs: hubs, TLS: true, TLSConfig: id.Client(identity.Hub), TLSTimeout: tlsTimeout,
		Compression: server.CompressionOpts{Mode: server.CompressionOff}, Nkey: key.seed,
	}}
	return nil
}

// users are who may connect to a hub's server: the hub itself, which may do all, and
// edges, which read the register and tell the hubs about themselves.
func (c *Cluster) users(opts *server.Options) error {
	keys := map[string]user{}
	for name, role := range map[string]identity.Role{userHub: identity.Hub, userSystem: identity.Hub, userEdge: identity.Edge} {
		key, err := userKey(c.cfg.Topology.Secret, role, name)
		if err != nil {
			return err
		}
		keys[name] = key
	}
	system := server.NewAccount("SYS")
	opts.Accounts, opts.SystemAccount = []*server.Account{system}, system.Name
	api := c.cfg.Topology.api()
	opts.Nkeys = []*server.NkeyUser{
		{Nkey: keys[userHub].public},
		{Nkey: keys[userSystem].public, Account: system},
		{Nkey: keys[userEdge].public, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: append([]string{
				api + "DIRECT.GET." + streamName, api + "DIRECT.GET." + streamName + ".>", api + "STREAM.INFO." + streamName,
				toHubs + ">",
			}, kvAccess(api)...)},
			Subscribe: &server.SubjectPermission{Allow: []string{republished + ">", toAll + ">", "_INBOX.>"}},
		}},
	}
	return nil
}

// kvAccess are the subjects that an edge needs to keep guests' values.
func kvAccess(api string) []string {
	return []string{
		api + kvPrefix + ">", api + "STREAM.MSG.GET." + kvStream, api + "STREAM.MSG.DELETE." + kvStream, api + "STREAM.INFO." + kvStream,
		api + "CONSUMER.CREATE." + kvStream + ".>", api + "CONSUMER.MSG.NEXT." + kvStream + ".>", api + "CONSUMER.DELETE." + kvStream + ".>",
	}
}
