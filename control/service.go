// Package control is the admin API's service: it authorises a call, validates
// what it brings, stages it on this node, moves a head in the register, and
// activates what the register says. It knows neither NATS nor wazero.
package control

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
	"github.com/orla-edge/orla/seal"
	"github.com/orla-edge/orla/site"
	"github.com/orla-edge/orla/telemetry"
)

// Config is what the service works on. Every field without a stated zero is
// required.
type Config struct {
	Node    string
	Version string
	// URLs on which the node serves: "http://127.0.0.1:8080".
	URLs []string
	// AdminToken is the secret of the node's own admin.
	AdminToken string
	Register   *cluster.Cluster
	// Audit keeps who changed what in the cluster; nil, as at edges: it is not kept there.
	Audit *cluster.Audit
	// AuditFile is where the node keeps it besides; empty: nowhere.
	AuditFile string
	// Offline is where changes are noted that are made to the node while it is stopped, see
	// [Offline.Note]; empty: nowhere.
	Offline    string
	Blobs      *modules.Dir
	Dispatcher *dispatch.Dispatcher
	// Compressor makes the precompressed variants of site files.
	Compressor *site.Compressor
	Tail       *telemetry.Tail
	// Fetcher gets content that other nodes have.
	Fetcher *peer.Fetcher
	// Peer is the URL at which other nodes fetch content from this one; empty: none.
	Peer string
	// Phase says how the node is: "starting", "serving" …; nil: it serves.
	Phase func() string
	// Drain is called with whether the node shall send its clients elsewhere; nil means
	// that it cannot.
	Drain func(bool)
	// KV is the key-value store of functions; nil means that there is none.
	KV *cluster.KV
	// SecretKey seals and opens secrets; nil means that there can be none.
	SecretKey *seal.Key
	// OldSecretKey is what this node has sealed secrets with before it was in a cluster;
	// nil: nothing.
	OldSecretKey *seal.Key
	// Changed is called after the hosts that are served may have changed, see
	// [Service.Hosts]; it returns soon. Nil means that nobody wants to know.
	Changed func()
	// Certificates are the node's; nil: it has none.
	Certificates Certificates
	// Backups is where the register is exported to now and then; empty: nowhere.
	Backups string
	// Meter makes the instruments; nil makes none.
	Meter  metric.MeterProvider
	Logger *slog.Logger
}

// Service implements orlav1connect.ControlServiceHandler.
type Service struct {
	cfg     Config
	started time.Time
	catalog *catalog
	vault   vault
	ledger  *ledger
	staged  staged

	incarnation string
	members     members
	greeted     atomic.Pointer[time.Time] // when this hub has asked who is there; nil: not yet
	stagings    stagings
	tails       tails
	rollouts    rollouts
	metrics     instruments
	background  sync.WaitGroup          // what was started on behalf of messages
	applying    sync.Mutex              // one change of the table at a time, from its reading to its swap
	hoarded     map[modules.Digest]bool // releases of which the node has all; of the goroutine that catches up
	lacking     chan struct{}           // holds a token when a head was refused
	moved       chan struct{}           // holds a token when the node should introduce itself

	stopped chan struct{} // closed by Stop
	stop    sync.Once     // closes stopped
}

var _ orlav1connect.ControlServiceHandler = (*Service)(nil)

// New returns the service. Call [Service.Apply] with what the register says, and
// serve [Service.Handler].
func New(cfg Config) *Service {
	s := &Service{
		cfg: cfg, started: time.Now(), catalog: newCatalog(cfg.AdminToken), stopped: make(chan struct{}),
		incarnation: rand.Text(), hoarded: map[modules.Digest]bool{}, lacking: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		ledger: &ledger{stream: cfg.Audit, file: cfg.AuditFile, offline: cfg.Offline, node: cfg.Node, log: cfg.Logger, news: make(chan struct{}, 1)},
	}
	var err error
	if s.metrics, err = s.newInstruments(cfg.Meter); err != nil {
		cfg.Logger.Error("service is not measured", "error", err)
		s.metrics, _ = s.newInstruments(nil) // which cannot fail
	}
	return s
}

// Stop ends the calls that would go on as long as their clients like, so that
// the listener can drain.
func (s *Service) Stop() { s.stop.Do(func() { close(s.stopped) }) }

// Limits of what one call may bring.
const (
	maxMessageBytes = 64 << 20 // a manifest of 200,000 files
	maxTextBytes    = 1 << 10  // a deploy's message, a token's name

	// compressFrom is the size in bytes from which an answer is compressed. A deploy to
	// many nodes answers in many words, each of which would cost a new compressor.
	compressFrom = 4 << 10
)

// Handler returns the API's path prefix and handler.
func (s *Service) Handler() (string, http.Handler) {
	return orlav1connect.NewControlServiceHandler(s,
		connect.WithInterceptors(auditor{s}, authoriser{s.catalog}),
		connect.WithReadMaxBytes(maxMessageBytes),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithRecover(s.recovered))
}

func (s *Service) recovered(_ context.Context, spec connect.Spec, _ http.Header, cause any) error {
	s.cfg.Logger.Error("call panicked", "procedure", spec.Procedure, "error", cause)
	return connect.NewError(connect.CodeInternal, errInternal)
}

// ValidToken reports whether token is one that the API would accept.
func (s *Service) ValidToken(token string) bool {
	_, ok := s.catalog.identity(token)
	return ok
}

// GetNode implements the API.
func (s *Service) GetNode(context.Context, *connect.Request[orlav1.GetNodeRequest]) (*connect.Response[orlav1.GetNodeResponse], error) {
	res := &orlav1.GetNodeResponse{
		Node: s.cfg.Node, Version: s.cfg.Version, Started: timestamppb.New(s.started),
		Revision: s.cfg.Dispatcher.Revision(), RegisterReady: true, Urls: s.cfg.URLs,
		Refusals: s.catalog.listRefusals(),
	}
	if err := s.cfg.Register.Ready(); err != nil {
		res.RegisterReady, res.RegisterError = false, err.Error()
	}
	return connect.NewResponse(res), nil
}
