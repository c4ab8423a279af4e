package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	maxPayload = 4 << 20 // a value and its headers, and a value read as JSON
	// maxStore is no limit: the disk is, and MinFree keeps away from its end.
	maxStore  = 1 << 50
	maxMemory = 64 << 20
	// readyIn is how long the server may take to start. A million keys load in 2 s.
	readyIn = 30 * time.Second
)

// startServer starts the embedded server; the caller stops it.
func (c *Cluster) startServer(failed func(error)) (*server.Server, error) {
	if c.kind.embedded() { // again: the folder may have been moved away
		if err := claimStore(c.natsPath(), c.kind); err != nil {
			return nil, err
		}
	}
	log := &serverLog{log: c.log, failed: failed}
	opts, err := c.options()
	if err != nil {
		return nil, err
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
	if !srv.ReadyForConnections(readyIn) || srv.JetStreamEnabled() != c.kind.embedded() {
		stopServer(srv)
		return nil, fmt.Errorf("start embedded NATS server: not ready after %v", readyIn)
	}
	if len(opts.Accounts) > 0 { // else it is enabled by itself
		if err := srv.GlobalAccount().EnableJetStream(nil, nil); err != nil {
			stopServer(srv)
			return nil, fmt.Errorf("start embedded NATS server: %w", err)
		}
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

// What the marker file says of the store beside it. A store that a node kept alone
// and is opened with the options of a cluster loses its streams after 30 s.
const (
	storeAlone   = "solo"
	storeCluster = "hub"
)

// claimStore writes beside the store whose it is, and refuses another's with [ErrStore].
// A hub has no use for a store of which that is not known.
func claimStore(dir string, k kind) error {
	want, text := storeAlone, "This NATS store was written by one node alone. Opened as one of several hubs it would\nlose its streams: see `orla cluster grow`.\n"
	if k == hub {
		want, text = storeCluster, "This NATS store is one of those of a cluster's hubs.\n"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open the register's store: %w", err)
	}
	file := filepath.Join(dir, markerFile)
	b, err := os.ReadFile(file) //nolint:gosec // a file of ours
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the register's store: %w", err)
	}
	found, _, _ := strings.Cut(string(b), "\n")
	if _, grown, perr := readPlan(filepath.Dir(dir)); k != hub && found != storeAlone && (grown || perr != nil) {
		return fmt.Errorf("%w: this node was prepared to be one of several hubs; start it with --join, or run "+
			"`orla cluster grow --undo --data %s` first to keep it alone", ErrStore, filepath.Dir(dir))
	}
	switch found {
	case want:
		return nil
	case "": // none, or one that a power cut has emptied
		_, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir))
		if k == hub && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("open the register's store: %s is missing, which says whose it is: if the node was one of several hubs, write %q into it; "+
				"if it was alone, write %q and run `orla cluster grow`", file, storeCluster, storeAlone)
		}
		if err := replaceDurably(file, []byte(want+"\n"+text)); err != nil {
			return fmt.Errorf("open the register's store: %w", err)
		}
		return nil
	case storeAlone:
		return fmt.Errorf("%w: this node has kept the register alone until now; run `orla cluster grow --data %s` first, "+
			"which takes everything along, then start it with --join", ErrStore, filepath.Dir(dir))
	case storeCluster:
		return fmt.Errorf("%w: this node was one of several hubs; start it with --cluster, --cluster-listen and --join as before, "+
			"or see `orla cluster rescue --help`", ErrStore)
	default:
		return fmt.Errorf("%w: %s says that it belongs to %q", ErrStore, file, found)
	}
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

// Errorf passes on, and looks for a failed write among the arguments. What is wrong
// with the network mends itself.
func (l *serverLog) Errorf(format string, args ...any) {
	level := slog.LevelError
	var failed syscall.Errno
	for _, arg := range args {
		err, _ := arg.(error)
		if _, ok := errors.AsType[*net.OpError](err); ok {
			level = slog.LevelWarn
			continue
		}
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			failed = errno
		}
	}
	l.log.Log(context.Background(), level, "embedded NATS server", "detail", fmt.Sprintf(format, args...))
	if failed != 0 {
		l.failed(writeFailure(failed))
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
