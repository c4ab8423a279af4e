package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/orla-edge/orla/certs"
	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/seal"
)

// ACME says where certificates are ordered.
type ACME struct {
	Email    string // empty: none
	RootFile string // roots to trust when speaking to the directories, in PEM; empty: the system's
	// Directories are tried in this order.
	Directories []Directory
	// DNS, DNSFile and DNSResolvers are those of [certs.LoadDNS]; empty: no DNS-01.
	DNS, DNSFile string
	DNSResolvers []string
}

// Directory is an ACME server.
type Directory struct {
	URL string // empty: Let's Encrypt
	// EABKeyID and EABKeyFile are the external account binding; empty: none.
	EABKeyID, EABKeyFile string
}

func (n *Node) certsConfig(key, old *seal.Key, kv *cluster.KV) (certs.Config, error) {
	cfg := certs.Config{
		Dir: filepath.Join(n.cfg.Data, "certs"), Node: n.cfg.Name, Hosts: n.dispatch.Serves, Logger: n.log,
		ClientCAs: n.dispatch.ClientCAs, OnDemand: n.dispatch.OnDemand,
		Register: sharedCerts{n.register, kv}, Sealer: key, Lead: n.leads(),
		CutOff: func() bool { return n.register.Ready() != nil },
	}
	if !n.register.Alone() {
		cfg.Ask = n.askOrder
	}
	if old != nil {
		cfg.OldSealer = old
	}
	if key == nil { // nodes that have no key in common have nothing private in common
		cfg.Register, cfg.Sealer = nil, nil
	}
	if n.cfg.TLS != TLSACME {
		return cfg, nil
	}
	if key == nil {
		return cfg, errors.New("--tls acme with --nats takes --cluster-secret-file FILE, the same on every node: the keys of certificates are sealed with it")
	}
	cfg.Mode = certs.ModeACME
	cfg.ACME = certs.ACME{Email: n.cfg.ACME.Email, RootFile: n.cfg.ACME.RootFile}
	if n.cfg.ACME.DNS != "" || n.cfg.ACME.DNSFile != "" {
		var err error
		if cfg.ACME.DNS, err = certs.LoadDNS(n.cfg.ACME.DNS, n.cfg.ACME.DNSFile, n.cfg.ACME.DNSResolvers); err != nil {
			return cfg, err
		}
	}
	for _, d := range n.cfg.ACME.Directories {
		directory := certs.Directory{URL: d.URL, EABKeyID: d.EABKeyID}
		if d.EABKeyFile != "" {
			text, err := os.ReadFile(d.EABKeyFile)
			if err != nil {
				return cfg, fmt.Errorf("read the key of the external account binding: %w; --acme-eab-key-file, or --acme-fallback-eab-key-file, names the file that has it as the CA wrote it", err)
			}
			directory.EABKey = strings.TrimSpace(string(text))
		}
		cfg.ACME.Directories = append(cfg.ACME.Directories, directory)
	}
	return cfg, nil
}

// leads reports whether this node may order certificates for all.
func (n *Node) leads() bool { return n.member.topology.Role() == identity.Hub }

// runCerts keeps certificates in order until ctx ends. What it returns ends it, by stop,
// and waits, while there still is a register to give the lease back to.
func (n *Node) runCerts(ctx context.Context, stop func()) (end func()) {
	if n.certs == nil {
		return func() {}
	}
	var running sync.WaitGroup
	running.Go(func() { n.certs.Run(ctx) })
	return func() { stop(); running.Wait() }
}

// manageHosts has certificates ready for the hosts that are served, until ctx ends.
func (n *Node) manageHosts(ctx context.Context) error {
	for n.certs != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-n.hosts:
		}
		var hosts []certs.Host
		for _, name := range n.control.Hosts() {
			hosts = append(hosts, certs.Host{Name: name, OnDemand: n.dispatch.OnDemand(name)})
		}
		if err := n.certs.Manage(ctx, hosts); err != nil && ctx.Err() == nil {
			n.log.Error("issue certificates", "error", err)
		}
	}
	return nil
}

// applyCerts tells the certificates what the register says.
func (n *Node) applyCerts(u cluster.Update) error {
	if n.certs == nil {
		return nil
	}
	var entries []certs.Entry
	for _, e := range u.Entries {
		if strings.HasPrefix(e.Key, certs.Prefix) {
			entries = append(entries, certs.Entry(e))
		}
	}
	return n.certs.Apply(u.Full, entries)
}

// sharedCerts is the register as certs needs it; leases are keys of the key-value store,
// of an app whose name no app can have.
type sharedCerts struct {
	register *cluster.Cluster
	kv       *cluster.KV
}

var _ certs.Register = sharedCerts{}

const (
	leaseApp   = "_orla"
	leaseStore = "leases"

	// commitPatience is how long a change waits for the hubs' election: a certificate that
	// was issued and not stored is lost.
	commitPatience = time.Minute
	commitAgain    = 500 * time.Millisecond

	leaseGrace = 2 * time.Second
)

// Commit implements [certs.Register].
func (s sharedCerts) Commit(ctx context.Context, key string, value []byte, expect uint64) error {
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	for uncertain := false; ; {
		revision, err := s.register.Commit(ctx, cluster.Change{Key: key, Value: value, Expect: expect})
		if err == nil {
			return s.register.Wait(ctx, revision)
		}
		if errors.Is(err, cluster.ErrConflict) {
			return s.changed(ctx, key, value, uncertain)
		}
		uncertain = uncertain || errors.Is(err, cluster.ErrUncertain)
		if !errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrReadOnly) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(commitAgain):
		}
	}
}

// changed says what a conflict means: after an answer that was lost, it may be with the
// very change.
func (s sharedCerts) changed(ctx context.Context, key string, value []byte, uncertain bool) error {
	if uncertain {
		e, err := s.register.Get(ctx, key)
		if err == nil && bytes.Equal(e.Value, value) || value == nil && errors.Is(err, cluster.ErrNotFound) {
			return s.register.Wait(ctx, e.Revision)
		}
	}
	return fmt.Errorf("change %q: %w", key, certs.ErrChanged)
}

// Sync implements [certs.Register].
func (s sharedCerts) Sync(ctx context.Context) error {
	_, err := s.register.Barrier(ctx)
	return err
}

// TakeLease implements [certs.Register]. The first one makes the store: a node that stops
// then waits for that, leaseGrace at most.
func (s sharedCerts) TakeLease(ctx context.Context, name, owner string, life time.Duration) (uint64, error) {
	ended := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ended, func() { time.AfterFunc(leaseGrace, cancel) })()
	revision, err := s.RenewLease(ctx, name, owner, life, 0)
	if !errors.Is(err, certs.ErrChanged) {
		return revision, err
	}
	value, held, err := s.kv.Get(ctx, leaseApp, leaseStore, name)
	if err != nil || string(value) != owner {
		return 0, certs.ErrChanged
	}
	return s.RenewLease(ctx, name, owner, life, held) // this node's own, of the process before
}

// ownLease is the revision of the leases of a node that is alone: nobody else could have
// them, and nothing is written for them.
const ownLease = 1

// RenewLease implements [certs.Register].
func (s sharedCerts) RenewLease(ctx context.Context, name, owner string, life time.Duration, revision uint64) (uint64, error) {
	if s.register.Alone() {
		return ownLease, nil
	}
	next, err := s.kv.Put(ctx, leaseApp, leaseStore, name, []byte(owner), cluster.KVPut{TTL: life, Expect: &revision})
	return next, leaseError(err)
}

// DropLease implements [certs.Register].
func (s sharedCerts) DropLease(ctx context.Context, name string, revision uint64) error {
	if s.register.Alone() {
		return nil
	}
	return leaseError(s.kv.Delete(ctx, leaseApp, leaseStore, name, &revision))
}

func leaseError(err error) error {
	if errors.Is(err, cluster.ErrConflict) {
		return fmt.Errorf("%w: %w", certs.ErrChanged, err)
	}
	return err
}
