package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/node/handover"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// Upgrade is how a running node is replaced by another process of its own. The
// zero value is a node that cannot be.
type Upgrade struct {
	// Command is what to start if nobody names another program: this one, with the
	// same arguments.
	Command handover.Command
	// Signal asks for an upgrade. Requests in the data directory say more; see
	// [AskUpgrade].
	Signal <-chan os.Signal
	// Inherited is what a predecessor or the service manager has passed. Nil means
	// nothing. The node closes it.
	Inherited *handover.Inherited
	// Manager is the service manager. Nil means none.
	Manager *handover.Manager
}

const (
	// upgradeTimeout is how long a new process may take until it serves, if nobody
	// says.
	upgradeTimeout = 60 * time.Second
	// MaxUpgradeTimeout is the longest that somebody may say: meanwhile the node
	// takes no changes.
	MaxUpgradeTimeout = 10 * time.Minute
)

// predecessor is the process that this one takes over from; nil: there is none.
func (n *Node) predecessor() *handover.Predecessor { return n.cfg.Upgrade.Inherited.Predecessor() }

// shared reports whether another process goes on with this one's sockets.
func (n *Node) shared() bool { return n.handed.Load() || n.cfg.Upgrade.Inherited.Managed() }

// takeDirectory is what a node does before it opens its data directory if it takes
// over from another: everything that may go wrong without the directory, then it
// has the other let go of it.
func (n *Node) takeDirectory(ctx context.Context) (err error) {
	p := n.predecessor()
	if p == nil {
		return nil
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	live, err := p.Live(ctx)
	if err != nil {
		return err
	}
	n.warm(ctx, live)
	n.before, err = p.Directory(ctx)
	return err
}

// warm has the functions of the manifests compiled, if they are not, while the
// predecessor still takes changes: another version may have to compile all of them
// anew. What fails here fails again, and is told, when the releases are built.
func (n *Node) warm(ctx context.Context, manifests []string) {
	var g errgroup.Group
	g.SetLimit(goruntime.GOMAXPROCS(0))
	for _, text := range manifests {
		m, err := n.manifest(text)
		if err != nil {
			n.log.Warn("release not made ready", "digest", text, "error", err)
			continue
		}
		for _, f := range m.GetFunctions() {
			g.Go(func() error {
				p, err := n.engine.Load(ctx, m.GetName(), f)
				if err == nil {
					err = p.Close(ctx)
				}
				if err != nil {
					n.log.Warn("function not made ready", "app", m.GetName(), "function", f.GetName(), "error", err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // none returns an error
}

func (n *Node) manifest(digest string) (*orlav1.Manifest, error) {
	d, err := modules.ParseDigest(digest)
	if err != nil {
		return nil, err
	}
	b, err := n.blobs.Read(d, maxManifest)
	if err != nil {
		return nil, err
	}
	return release.Decode(b)
}

// maxManifest bounds a manifest, in bytes.
const maxManifest = 64 << 20

// checkSuccession refuses to take over from a node that serves apps which this one
// can't.
func (n *Node) checkSuccession() error {
	if n.predecessor() == nil {
		return nil
	}
	worse := slices.DeleteFunc(n.control.Refused(), func(app string) bool { return slices.Contains(n.before, app) })
	if len(worse) > 0 {
		return fmt.Errorf("this version does not serve what is live: %s; its log has the reasons", strings.Join(worse, ", "))
	}
	return nil
}

// announce tells everybody that the node serves.
func (n *Node) announce() error {
	var err error
	if n.pid, err = writePid(n.cfg.Data); err != nil {
		return err
	}
	n.phase.Store(serving)
	n.log.Info("node serves", "urls", n.listeners.urls(), "admin", n.listeners.adminURL(), "data", n.cfg.Data, "version", n.cfg.Version)
	n.tell(handover.StateReady)
	if p := n.predecessor(); p != nil {
		if err := p.Serving(n.cfg.Version); err != nil {
			return err
		}
	}
	if n.cfg.Ready != nil {
		n.cfg.Ready(n.listeners.urls())
	}
	return nil
}

// fail tells the predecessor, if there is one, that it has to go on.
func (n *Node) fail(err error) {
	if p := n.predecessor(); p != nil && err != nil && n.phase.Load() == starting {
		p.Failed(err)
	}
}

// tell tells the service manager.
func (n *Node) tell(states ...string) {
	if err := n.cfg.Upgrade.Manager.Tell(states...); err != nil {
		n.log.Warn("service manager not told", "error", err)
	}
}

// reportAlive gives the service manager its signs of life.
func (n *Node) reportAlive(ctx context.Context) error {
	if err := n.cfg.Upgrade.Manager.Run(ctx); err != nil {
		n.log.Error("service manager gets no signs of life", "error", err)
	}
	return nil
}

// upgrades replaces the node when it is asked to, and calls leave once another
// process serves.
func (n *Node) upgrades(ctx context.Context, leave func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.cfg.Upgrade.Signal:
		}
		ask, err := takeRequest(n.cfg.Data)
		if err != nil {
			n.log.Error("request for an upgrade is not understood", "error", err)
			continue
		}
		if n.upgrade(ctx, ask, leave) {
			return nil
		}
	}
}

// upgrade reports whether another process has taken over, and calls leave if so. If
// not, the node is as it was.
func (n *Node) upgrade(ctx context.Context, ask request, leave func()) bool {
	command := n.cfg.Upgrade.Command
	if ask.Binary != "" {
		command.Path = ask.Binary
	}
	n.log.Info("upgrade begins", "binary", command.Path)
	start := time.Now()
	n.tell(handover.StateReloading)
	pid, version, err := n.handOver(ctx, command, cmp.Or(ask.Timeout, upgradeTimeout))
	out := Outcome{ID: ask.ID, Pid: pid, From: n.cfg.Version, To: version, Took: time.Since(start)}
	if err != nil {
		n.tell(handover.StateReady)
		out.Error = err.Error()
		n.log.Error("upgrade failed, the node serves on as before", "binary", command.Path, "error", err, "took", out.Took.String())
	} else {
		n.handed.Store(true)
		// Who knows of the outcome must not find this process's API any more.
		_ = n.listeners.admin.Close() // its server closes it again
		leave()
		n.tell(handover.StateMainPID(pid), handover.StateReady)
		n.log.Info("upgraded, this process finishes its requests", "pid", pid, "version", version, "took", out.Took.String())
	}
	if err := writeOutcome(n.cfg.Data, out); err != nil {
		n.log.Error("outcome of the upgrade not noted", "error", err)
	}
	return err == nil
}

// handOver starts the command and returns once it serves, with its process and
// version. If it fails the node is as it was.
func (n *Node) handOver(ctx context.Context, command handover.Command, within time.Duration) (pid int, version string, err error) {
	if os.Getpid() == 1 {
		return 0, "", errors.New("the node is the container's first process, and the container ends with it: replace the container instead")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it did not serve within %v", within))
	defer cancel()
	n.upgrading.Store(true)
	next, err := handover.Start(command, n.listeners.sockets(n.cfg), n.cfg.Upgrade.Inherited.Managed())
	if err != nil {
		n.upgrading.Store(false)
		return 0, "", err
	}
	if version, err = n.hand(ctx, next); err == nil {
		next.Release()
		return next.Pid(), version, nil
	}
	err = errors.Join(err, next.Kill())
	n.register.Resume()
	n.upgrading.Store(false)
	return 0, "", err
}

// hand lets next have the data directory and returns once it serves.
func (n *Node) hand(ctx context.Context, next *handover.Successor) (version string, err error) {
	var live []string
	for _, r := range n.dispatch.Live() {
		live = append(live, r.Digest.String())
	}
	if err := next.Asked(ctx, live); err != nil {
		return "", err
	}
	if err := n.register.Suspend(ctx); err != nil {
		return "", err
	}
	if err := next.Grant(n.control.Refused()); err != nil {
		return "", err
	}
	return next.Served(ctx)
}

// sockets are the listeners as a successor gets them.
func (l listeners) sockets(cfg Config) []handover.Socket {
	var out []handover.Socket
	for _, ln := range l.http {
		out = append(out, handover.Socket{Name: "http", Address: cfg.HTTP, Listener: ln})
	}
	for _, ln := range l.https {
		out = append(out, handover.Socket{Name: "https", Address: cfg.HTTPS, Listener: ln})
	}
	if l.peer != nil {
		out = append(out, handover.Socket{Name: "peer", Address: cfg.Cluster.Peer, Listener: l.peer})
	}
	return append(out, handover.Socket{Name: "admin", Address: cfg.Admin, Listener: l.admin})
}
