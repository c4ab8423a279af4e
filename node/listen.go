package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/orla-edge/orla/server"
)

// listen takes the inherited sockets and opens the others that are asked for. A
// second call does nothing.
func (n *Node) listen(ctx context.Context) (err error) {
	if n.listeners.admin != nil {
		return nil
	}
	var l listeners
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if wanted(n.cfg.HTTP) {
		if l.http, err = n.inheritOrOpen(ctx, "http", n.cfg.HTTP); err != nil {
			return err
		}
	}
	if wanted(n.cfg.HTTPS) && n.cfg.TLS != TLSOff {
		if l.https, err = n.inheritOrOpen(ctx, "https", n.cfg.HTTPS); err != nil {
			return err
		}
	}
	admin, err := n.inheritOrOpen(ctx, "admin", n.cfg.Admin)
	if err != nil {
		return err
	}
	l.admin = admin[0]
	if len(admin) > 1 {
		return errors.New("the service manager passes several sockets for the admin listener, which has one: leave one ListenStream= of that name in its unit")
	}
	if n.peered() {
		lns, err := n.inheritOrOpen(ctx, "peer", n.cfg.Cluster.Peer)
		if err != nil {
			return err
		}
		l.peer = lns[0]
	}
	if err := n.cfg.Upgrade.Inherited.Unclaimed(); err != nil {
		return err
	}
	n.listeners = l
	return nil
}

// inheritOrOpen returns the inherited listeners of that flag, or opens one.
func (n *Node) inheritOrOpen(ctx context.Context, flag, addr string) ([]net.Listener, error) {
	if inherited := n.cfg.Upgrade.Inherited.Take(flag, addr); len(inherited) > 0 {
		return inherited, nil
	}
	ln, err := server.Listen(ctx, addr)
	if err != nil {
		return nil, listenError("--"+flag, addr, err)
	}
	return []net.Listener{ln}, nil
}

func wanted(addr string) bool { return addr != "" && addr != "off" }

// listenError says which flag moves a listener that cannot be opened.
func listenError(flag, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s: the address is in use by another program; stop it, or pass %s with another port: %w", flag, addr, flag, syscall.EADDRINUSE)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s %s: not allowed to listen there; pass %s with a port from 1024 up, or give the binary the right (setcap cap_net_bind_service=+ep): %w", flag, addr, flag, os.ErrPermission)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this machine does not have that address; pass %s with one that it has: %w", flag, addr, flag, syscall.EADDRNOTAVAIL)
	default:
		return fmt.Errorf("%s %s: %w", flag, addr, err)
	}
}

// urls returns where a person on this machine reaches the public listeners.
func (l listeners) urls() []string {
	var out []string
	for _, ln := range l.http {
		out = append(out, "http://"+reachable(ln.Addr()))
	}
	for _, ln := range l.https {
		out = append(out, "https://"+reachable(ln.Addr()))
	}
	return out
}

// httpsPort returns the port of the HTTPS listener; 0 if there is none.
func (l listeners) httpsPort() int {
	for _, ln := range l.https {
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			return a.Port
		}
	}
	return 0
}

func (l listeners) adminURL() string { return "http://" + reachable(l.admin.Addr()) }

// reachable turns a listener's address into one to connect to: every address of
// the machine becomes localhost.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
