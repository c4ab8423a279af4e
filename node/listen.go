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

// listen opens the sockets that cfg asks for.
func listen(ctx context.Context, cfg Config) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
			l = listeners{}
		}
	}()
	open := func(flag, addr string) (net.Listener, error) {
		ln, err := server.Listen(ctx, addr)
		if err != nil {
			return nil, listenError(flag, addr, err)
		}
		return ln, nil
	}
	if wanted(cfg.HTTP) {
		ln, err := open("--http", cfg.HTTP)
		if err != nil {
			return l, err
		}
		l.http = append(l.http, ln)
	}
	if wanted(cfg.HTTPS) && cfg.TLS != TLSOff {
		ln, err := open("--https", cfg.HTTPS)
		if err != nil {
			return l, err
		}
		l.https = append(l.https, ln)
	}
	if l.admin, err = open("--admin", cfg.Admin); err != nil {
		return l, err
	}
	return l, nil
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
