package dev

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
)

// member is one node as it will be started.
type member struct {
	name string
	data string // its data directory
	url  string // where a person reaches it
	args []string
}

// newPlan decides what is started: names, directories, ports. Data directories are by
// the number of nodes: what one node has kept is not opened as part of a cluster.
func newPlan(ctx context.Context, cfg Config, home string) ([]member, error) {
	ports := &ports{taken: make(map[int]bool)}
	members := make([]member, cfg.Nodes)
	for i := range members {
		wanted := 0
		if cfg.Port != 0 {
			wanted = cfg.Port + i
		}
		public, err := ports.take(ctx, wanted, 1)
		if err != nil {
			return nil, err
		}
		m := member{name: fmt.Sprintf("n%d", i+1), url: fmt.Sprintf("http://localhost:%d", public)}
		m.data = filepath.Join(home, fmt.Sprintf("nodes-%d", cfg.Nodes), m.name)
		m.args = []string{
			"serve", "--node", m.name, "--data", m.data, "--http", local(public), "--https", "off", "--tls", "off",
			"--admin", local(0), "--log-format", "json",
		}
		members[i] = m
	}
	if cfg.Nodes > 1 {
		return members, joinUp(ctx, members, ports)
	}
	return members, nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// ports gives out ports of this machine that nothing listens on, each once.
type ports struct{ taken map[int]bool }

// take returns the first of count ports in a row: wanted, or any if that is zero.
func (p *ports) take(ctx context.Context, wanted, count int) (int, error) {
	for range 100 {
		first, err := p.try(ctx, wanted, count)
		switch {
		case errors.Is(err, syscall.EADDRINUSE) && wanted != 0:
			return 0, fmt.Errorf("port %d is in use by another program; stop it, or pass --port with another", wanted)
		case errors.Is(err, syscall.EADDRINUSE):
			continue
		case err != nil:
			return 0, fmt.Errorf("look for a free port: %w", err)
		}
		for i := range count {
			p.taken[first+i] = true
		}
		return first, nil
	}
	return 0, errors.New("look for a free port: none is left")
}

// try opens the ports and closes them again. What is taken counts as in use.
func (p *ports) try(ctx context.Context, wanted, count int) (first int, err error) {
	for i := range count {
		if wanted > math.MaxUint16 {
			return 0, syscall.EADDRINUSE
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", local(wanted))
		if err != nil {
			return 0, err
		}
		defer ln.Close() //nolint:errcheck // nobody has connected
		port := ln.Addr().(*net.TCPAddr).Port
		if p.taken[port] {
			return 0, syscall.EADDRINUSE
		}
		if i == 0 {
			first = port
		}
		wanted = port + 1
	}
	return first, nil
}
