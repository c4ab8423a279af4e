package node

import (
	"context"
	"time"
)

const (
	// collectEvery is how often blobs that no release refers to are looked for.
	collectEvery = time.Hour
	// collectAge is how old a blob must be to be removed: a deploy uploads its
	// blobs before anything refers to them.
	collectAge = 24 * time.Hour
	// cleanEvery is how often compiled code is looked through that nothing has used
	// for long.
	cleanEvery = 24 * time.Hour
)

// collect removes what no remembered release needs, from time to time.
func (n *Node) collect(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if n.upgrading.Load() {
			continue // another process knows what is referred to
		}
		keep, err := n.control.Referenced()
		if err != nil {
			// What can't be read can't be ruled out: keep everything.
			n.log.Error("collect blobs", "error", err)
			continue
		}
		count, bytes, err := n.blobs.Collect(keep, time.Now().Add(-collectAge))
		if err != nil {
			n.log.Error("collect blobs", "error", err)
		}
		if count > 0 {
			n.log.Info("blobs collected", "count", count, "bytes", bytes)
		}
	}
}

// cleanCode bounds the cache of compiled code by size and age, now and then daily.
func (n *Node) cleanCode(ctx context.Context) error {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		if err := n.engine.Clean(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("clean compiled code", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
