package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/orla-edge/orla/identity"
)

// Topology says how a node reaches the register. The zero value means that it keeps
// one of its own and is alone.
type Topology struct {
	// Name of the cluster.
	Name string
	// Secret is the cluster's; required with Listen or Join.
	Secret identity.Secret
	// Listen makes the node a hub: one of those that keep the register. It is the
	// address, "host:port", for the other hubs; edges connect to the port after it.
	Listen string
	// Advertise is the address, "host:port", by which the others reach Listen. Empty
	// means Listen itself.
	Advertise string
	// Join are addresses that hubs listen on; one that works is enough, and a hub may
	// name itself. A hub without them is the cluster's only one. A node with Join
	// and without Listen is an edge: it only dials out, and cannot change anything.
	Join []string
	// NATS is somebody else's server or cluster, which keeps the register instead.
	NATS *NATS
}

// NATS is how to reach a NATS system that is not ours.
type NATS struct {
	URL   string // one or more, with commas between: "tls://nats.example:4222"
	Creds string // file with a JWT and a seed; empty: none
	Nkey  string // file with a seed; empty: none
	// Files for TLS; empty: the system's roots, and no client certificate.
	CA, Cert, Key string
	// Domain is the JetStream domain; empty: the server's own.
	Domain string
	// Replicas of the register; 0 means 3, or 1 where the server is not in a cluster.
	Replicas int
}

// kind is what a topology comes down to.
type kind int

const (
	alone   kind = iota // a register of its own, no port
	onlyHub             // a register of its own, edges may connect
	hub                 // one of three or five
	edge
	external
)

func (t Topology) kind() kind {
	switch {
	case t.NATS != nil:
		return external
	case t.Listen != "" && len(t.Join) == 0:
		return onlyHub
	case t.Listen != "":
		return hub
	case len(t.Join) > 0:
		return edge
	default:
		return alone
	}
}

// owns reports whether a node of this kind is the only one that writes the register's
// store, so that it may make a lost register anew from its last good state.
func (k kind) owns() bool { return k == alone || k == onlyHub }

// embedded reports whether the node's own server keeps the register.
func (k kind) embedded() bool { return k != edge && k != external }

// Role is what a node may do to the register.
func (t Topology) Role() identity.Role {
	if t.kind() == edge {
		return identity.Edge
	}
	return identity.Hub
}

// domains of JetStream. A store of a node that writes alone and one of a cluster are
// different things, whatever the domain: see claimStore.
const (
	domainSolo = "solo"
	domainHub  = "hub"
)

// api is the prefix of the JetStream API.
func (t Topology) api() string {
	domain := domainHub
	switch t.kind() {
	case alone:
		domain = domainSolo
	case external:
		if domain = t.NATS.Domain; domain == "" {
			return "$JS.API."
		}
	case onlyHub, hub, edge:
	}
	return "$JS." + domain + ".API."
}

// Validate returns what is wrong with the topology, for a person to mend.
func (t Topology) Validate() error {
	if t.NATS != nil {
		if t.Listen != "" || len(t.Join) > 0 {
			return errors.New("--nats takes the place of --cluster-listen and --join: leave those out")
		}
		if t.NATS.URL == "" {
			return errors.New("--nats needs a URL: nats://HOST:4222")
		}
		return nil
	}
	if t.kind() == alone {
		return nil
	}
	if t.Name == "" {
		return errors.New("--cluster-listen and --join need --cluster NAME, the same on every node")
	}
	if t.Secret.IsZero() {
		return errors.New("a cluster needs --cluster-secret-file: `orla cluster secret > FILE` makes one, the same for every node")
	}
	for _, addr := range append(slices.Clone(t.Join), cmp.Or(t.Listen, "h:1"), cmp.Or(t.Advertise, "h:1")) {
		if _, _, err := splitAddr(addr); err != nil {
			return err
		}
	}
	return nil
}

func splitAddr(addr string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("cluster address %q: want HOST:PORT, as in 10.0.0.1:6222", addr)
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65534 {
		return "", 0, fmt.Errorf("cluster address %q: want a port from 1 to 65534", addr)
	}
	return host, port, nil
}
