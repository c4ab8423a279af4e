package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// domainSolo is the JetStream domain of a node that runs alone. A store belongs to
// one domain for good: one that is opened with the options of a cluster loses its
// streams after 30 s.
const domainSolo = "solo"

const (
	maxPayload = 4 << 20 // a value and its headers, and a value read as JSON
	// maxStore is no limit: the disk is, and MinFree keeps away from its end.
	maxStore  = 1 << 50
	maxMemory = 64 << 20
	// readyIn is how long the server may take to start. A million keys load in 2 s.
	readyIn = 30 * time.Second
)

// startServer starts the embedded server; the caller stops it. It has no port.
func (c *Cluster) startServer(failed func(error)) (*server.Server, error) {
	if err := claimStore(c.natsPath()); err != nil {
		return nil, err
	}
	log := &serverLog{log: c.log, failed: failed}
	opts := &server.Options{
		ServerName: c.cfg.Node, DontListen: true, NoSigs: true,
		JetStream: true, JetStreamDomain: domainSolo, StoreDir: c.natsPath(), SyncAlways: true,
		JetStreamMaxStore: maxStore, JetStreamMaxMemory: maxMemory,
		MaxPayload: maxPayload,
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("make embedded NATS server: %w", err)
	}
	srv.SetLoggerV2(log, false, false, false)
	if err := startRecovering(srv); err != nil {
		stopServer(srv)
		return nil, err
	}
	if fatal := log.fatal(); fatal != nil {
		stopServer(srv)
		return nil, fmt.Errorf("start embedded NATS server: %w; if %s cannot be mended, stop the node, move that folder away and start: "+
			"the register is built again from the last good state", fatal, c.natsPath())
	}
	if !srv.ReadyForConnections(readyIn) || !srv.JetStreamEnabled() {
		stopServer(srv)
		return nil, fmt.Errorf("start embedded NATS server: not ready after %v", readyIn)
	}
	return srv, nil
}

// startRecovering keeps a store that makes the server panic from ending the node.
func startRecovering(srv *server.Server) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("start embedded NATS server: panic: %v", p)
		}
	}()
	srv.Start()
	return nil
}

func stopServer(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

const markerFile = "DOMAIN"

// claimStore writes beside the store whose it is, and refuses another's.
func claimStore(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open the register's store: %w", err)
	}
	file := filepath.Join(dir, markerFile)
	b, err := os.ReadFile(file) //nolint:gosec // a file of ours
	if errors.Is(err, os.ErrNotExist) {
		return writeDurably(file, []byte(domainSolo+"\nThis NATS store belongs to a node that runs alone. Opened with the options of a\n"+
			"cluster it would lose its streams.\n"))
	}
	if err != nil {
		return fmt.Errorf("open the register's store: %w", err)
	}
	if domain, _, _ := strings.Cut(string(b), "\n"); domain != domainSolo {
		return fmt.Errorf("open the register's store: %s says that it belongs to domain %q, not to a node that runs alone", file, domain)
	}
	return nil
}

// connect opens a connection within the process. It calls suspect when messages
// may have been lost.
func connect(srv *server.Server, suspect func(), log *slog.Logger) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.Name("orla"),
		nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.ReconnectHandler(func(*nats.Conn) { suspect() }), nats.ClosedHandler(func(*nats.Conn) { suspect() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrSlowConsumer) {
				log.Warn("register connection", "error", err)
			}
			suspect()
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return nc, nil
}

// serverLog passes the server's warnings and errors on, and notices those that
// mean that it can no longer store.
type serverLog struct {
	log    *slog.Logger
	failed func(error) // called with the cause when a write failed

	mu  sync.Mutex // guards err
	err error
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Fatalf is called instead of an exit: what follows must be stopped by the caller.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.New(fmt.Sprintf(format, args...)) //nolint:revive,staticcheck // the format is not ours
}

// Errorf passes on, and looks for a failed write among the arguments.
func (l *serverLog) Errorf(format string, args ...any) {
	l.log.Error("embedded NATS server", "detail", fmt.Sprintf(format, args...))
	for _, arg := range args {
		err, _ := arg.(error)
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			l.failed(writeFailure(errno))
			return
		}
	}
}

// Warnf passes on.
func (l *serverLog) Warnf(format string, args ...any) {
	l.log.Warn("embedded NATS server", "detail", fmt.Sprintf(format, args...))
}

// Noticef drops what an operator of Orla can do nothing with.
func (l *serverLog) Noticef(string, ...any) {}

// Debugf drops.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef drops.
func (l *serverLog) Tracef(string, ...any) {}

func writeFailure(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space, changes are then taken again: %w", err)
	}
	return fmt.Errorf("the register's store cannot be written: %w", err)
}

// probe reports whether the store's disk takes a write.
func probe(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file := filepath.Join(dir, "probe")
	defer os.Remove(file) //nolint:errcheck // the next probe overwrites it
	return writeDurably(file, make([]byte, 256<<10))
}
