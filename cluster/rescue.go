package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/orla-edge/orla/identity"
)

// HubState is one of those that keep the register together, as the hub that tells of it
// sees it.
type HubState struct {
	Name string // or what stands for it, if it was never heard of
	ID   string // of the embedded server
	Here bool   // it answers
}

// Condition is how the register's hubs are.
type Condition struct {
	Hubs   []HubState
	Leader string // of the hubs; empty: they have none
	// Lost says why the register that is there is not the one that the node knows;
	// empty: it is, or it cannot be told as nobody leads.
	Lost string
}

// here is how many hubs answer.
func (c Condition) here() int {
	n := 0
	for _, h := range c.Hubs {
		if h.Here {
			n++
		}
	}
	return n
}

// Stuck reports whether too few hubs are left to agree on a change.
func (c Condition) Stuck() bool { return 2*c.here() <= len(c.Hubs) }

// Gone are the hubs that do not answer.
func (c Condition) Gone() []HubState {
	return slices.DeleteFunc(slices.Clone(c.Hubs), func(h HubState) bool { return h.Here })
}

// ErrHealthy means that there is nothing to rescue.
var ErrHealthy = errors.New("cluster: nothing to rescue")

// ErrNoHub means that there is no hub of that name.
var ErrNoHub = errors.New("cluster: no such hub")

const (
	// stepIn bounds each step of a rescue: hubs notice after some seconds that they
	// have no leader any more, and an election takes some too.
	stepIn    = time.Minute
	stepRetry = 250 * time.Millisecond
)

// rescuer is one call of a hub to those who keep the register.
type rescuer struct {
	c    *Cluster
	link *link
	sys  *nats.Conn // in the account that may change who is a hub
	reg  *register
}

// rescuer returns what a hub rescues with; the caller closes sys.
func (c *Cluster) rescuer() (*rescuer, error) {
	if c.kind != hub {
		return nil, fmt.Errorf("%w: this node is not one of several hubs, and has nobody to lose", ErrHealthy)
	}
	l := c.link.Load()
	if l == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, cmp.Or(c.status.Load().err, errRestarting))
	}
	key, err := userKey(c.cfg.Topology.Secret, identity.Hub, userSystem)
	if err != nil {
		return nil, err
	}
	sys, err := nats.Connect("", nats.InProcessServer(l.srv), nats.Nkey(key.public, key.sign), nats.Name("orla rescue"))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	r := &rescuer{c: c, link: l, sys: sys, reg: newRegister(c.cfg.Topology, c.cfg.Timeout)}
	r.reg.nc = l.nc
	return r, nil
}

// Condition tells how the hubs are. It is for a node that is one of several.
func (c *Cluster) Condition(ctx context.Context) (Condition, error) {
	r, err := c.rescuer()
	if err != nil {
		return Condition{}, err
	}
	defer r.sys.Close()
	return r.condition(ctx)
}

func (r *rescuer) condition(ctx context.Context) (Condition, error) {
	info, err := r.link.srv.Jsz(nil)
	if err != nil {
		return Condition{}, fmt.Errorf("ask the embedded NATS server: %w", err)
	}
	if info.Meta == nil {
		return Condition{}, fmt.Errorf("%w: the embedded NATS server keeps no register now; restart the node", ErrUnavailable)
	}
	known := map[string]string{info.Meta.Peer: info.Meta.Leader}
	for _, p := range info.Meta.Replicas {
		known[p.Peer] = p.Name
	}
	delete(known, "")
	self := r.link.srv.Node()
	known[self] = r.c.cfg.Node
	here, err := roll(ctx, r.link.nc, max(len(known), hubs))
	if err != nil {
		return Condition{}, err
	}
	cond := Condition{Leader: info.Meta.Leader, Lost: r.c.Lost()}
	for id, name := range known {
		_, answers := here[name]
		cond.Hubs = append(cond.Hubs, HubState{Name: name, ID: id, Here: answers})
		delete(here, name)
	}
	for name := range here { // those that this hub, which has just joined, does not count yet
		cond.Hubs = append(cond.Hubs, HubState{Name: name, Here: true})
	}
	slices.SortFunc(cond.Hubs, func(a, b HubState) int { return strings.Compare(a.Name, b.Name) })
	return cond, nil
}

// roll returns what the hubs answer, by name, of so many.
func roll(ctx context.Context, nc *nats.Conn, want int) (map[string]witness, error) {
	ctx, cancel := context.WithTimeout(ctx, witnessIn)
	defer cancel()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	if err := nc.PublishRequest(subjectWitness, inbox, nil); err != nil {
		return nil, err
	}
	here := map[string]witness{}
	for len(here) < want {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return here, nil // nobody else answers
		}
		var w witness
		if json.Unmarshal(m.Data, &w) == nil && w.Node != "" {
			here[w.Node] = w
		}
	}
	return here, nil
}

// Rescued is what a rescue has done.
type Rescued struct {
	Removed  []string // hubs that do not count any more
	Remade   bool     // the register was built again from this node's last good state
	Revision uint64   // that the node is at
}

// Rescue brings changes back to hubs that have lost their majority for good: those that
// do not answer are no longer counted. If it turns out that the register is lost too,
// it is made anew from what this node serves, with revisions above the given one, the
// highest that any node has seen. What hubs that are gone have acknowledged and this
// one has not heard of is lost; a hub that was only cut off must not come back with
// its data. It returns [ErrHealthy] if there is nothing to rescue.
func (c *Cluster) Rescue(ctx context.Context, above uint64) (Rescued, error) {
	r, err := c.rescuer()
	if err != nil {
		return Rescued{}, err
	}
	defer r.sys.Close()
	cond, err := r.condition(ctx)
	if err != nil {
		return Rescued{}, err
	}
	var out Rescued
	if cond.Stuck() {
		if err := r.regroup(ctx, cond); err != nil {
			return out, err
		}
		for _, h := range cond.Gone() {
			if err := r.removeHub(ctx, h); err != nil {
				return out, err
			}
			out.Removed = append(out.Removed, h.Name)
		}
	}
	lost, err := r.settled(ctx)
	if err != nil {
		return out, err
	}
	switch {
	case lost:
		out.Remade = true
		if out.Revision, err = c.Remake(ctx, Register{Entries: c.known(), Revision: above}); err != nil {
			return out, err
		}
	case !cond.Stuck():
		return out, fmt.Errorf("%w: %d of %d hubs are here, and the register is the one that this node knows", ErrHealthy, cond.here(), len(cond.Hubs))
	default:
		out.Revision = c.synced.at.load()
	}
	c.log.Error("register rescued", "removed", out.Removed, "remade", out.Remade, "revision", out.Revision)
	return out, nil
}

// known are the entries that the node knows.
func (c *Cluster) known() []Entry {
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	return c.synced.entries.sorted()
}

// regroup has the hubs that are left choose a leader among themselves.
func (r *rescuer) regroup(ctx context.Context, cond Condition) error {
	ask, err := json.Marshal(map[string]int{"quorum_needed": cond.here()})
	if err != nil {
		return err
	}
	return retry(ctx, "have the hubs that are left choose a leader", func(ctx context.Context) error {
		if info, err := r.link.srv.Jsz(nil); err == nil && info.Meta != nil && info.Meta.Leader != "" && info.Meta.Rescue {
			return nil
		}
		// Each hub that is left answers; one that still believes in a leader refuses.
		m, err := r.sys.RequestWithContext(ctx, "$JS.API.META.RESCUE", ask)
		if err != nil {
			return err
		}
		if err := decodeAnswer(m.Data, nil); err != nil {
			return err
		}
		return errNoLeaderYet
	})
}

var errNoLeaderYet = errors.New("there is no leader yet")

// removeHub makes a hub that is gone no longer count.
func (r *rescuer) removeHub(ctx context.Context, h HubState) error {
	ask, err := json.Marshal(map[string]string{"peer_id": h.ID})
	if err != nil {
		return err
	}
	return retry(ctx, fmt.Sprintf("remove hub %q", h.Name), func(ctx context.Context) error {
		m, err := r.sys.RequestWithContext(ctx, "$JS.API.SERVER.REMOVE", ask)
		if err != nil {
			return err
		}
		err = decodeAnswer(m.Data, nil)
		if failed, ok := errors.AsType[*apiError](err); ok && failed.Code == codeNotMember {
			return nil // of a try whose answer was lost
		}
		return err
	})
}

// codeNotMember: the server is not one of the cluster's.
const codeNotMember = 10044

// settled waits until the node follows the register again, or knows that it is lost.
func (r *rescuer) settled(ctx context.Context) (lost bool, err error) {
	err = retry(ctx, "wait for the register", func(context.Context) error {
		if lost = r.c.Lost() != ""; lost {
			return nil
		}
		return r.c.status.Load().err
	})
	return lost, err
}

// retry calls f until it succeeds, for a while.
func retry(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepIn)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 2*time.Second)
		err := f(once)
		done()
		if err == nil {
			return nil
		}
		if pause(ctx, stepRetry) != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// Forget makes a hub that is gone for good no longer count, so that another can take
// its place. A majority has to be here. It returns [ErrNoHub], or [ErrHealthy] if the
// hub is not gone.
func (c *Cluster) Forget(ctx context.Context, name string) error {
	r, err := c.rescuer()
	if err != nil {
		return err
	}
	defer r.sys.Close()
	cond, err := r.condition(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cond.Hubs, func(h HubState) bool { return h.Name == name || h.ID == name })
	var names []string
	for _, h := range cond.Hubs {
		names = append(names, h.Name)
	}
	switch {
	case i < 0:
		return fmt.Errorf("%w: %q; the hubs are %s", ErrNoHub, name, strings.Join(names, ", "))
	case cond.Hubs[i].Here:
		return fmt.Errorf("%w: hub %q is running: stop it first", ErrHealthy, name)
	case cond.Stuck():
		return fmt.Errorf("%w: %w", ErrUnavailable, errNoLeader)
	}
	if err := r.removeHub(ctx, cond.Hubs[i]); err != nil {
		return err
	}
	c.log.Warn("hub forgotten", "hub", name)
	return nil
}
