package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// A page of a fetch ends at whichever comes first.
const (
	pageMessages = 4096 // few pages: for each, the server counts what is left in a block
	pageBytes    = 8 << 20
)

// fetch returns the messages from sequence from on, as they are when the last page
// is read: what changed while earlier pages were on their way comes again in the
// last. The server does not cut pages inside a batch that is being committed, so
// the last page's end is between batches; only a batch that the server failed to
// finish is cut, and left out with [whole].
func (r *register) fetch(ctx context.Context, from uint64) ([]message, error) {
	var all []message
	for {
		n := len(all)
		more, err := r.page(ctx, from, &all)
		if err != nil {
			return nil, fmt.Errorf("read the register from revision %d: %w", from, err)
		}
		if !more {
			return all, nil
		}
		if len(all) == n {
			return nil, fmt.Errorf("read the register from revision %d: the server sent an empty page", from)
		}
		from = all[len(all)-1].Revision + 1
	}
}

// page appends one page of messages to all, and reports whether there are more. It takes
// one timeout at most: how long a register takes depends on its size.
func (r *register) page(ctx context.Context, from uint64, all *[]message) (more bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errNoAnswer)
	defer cancel()
	// The stream has no other subjects. To name them would have the server look at all its
	// messages for each page, to count those that are left.
	ask := map[string]any{"seq": max(from, 1), "batch": pageMessages, "max_bytes": pageBytes}
	return r.batch(ctx, streamName, ask, func(m *nats.Msg) error {
		msg, err := parse(m)
		if err == nil {
			*all = append(*all, msg)
		}
		return err
	})
}

// batch makes a batch direct get of a stream's messages, which any of its replicas
// answers, and reports whether there are more. It ends early if take returns an error.
func (r *register) batch(ctx context.Context, stream string, ask map[string]any, take func(*nats.Msg) error) (more bool, err error) {
	inbox := r.nc.NewInbox()
	sub, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return false, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return false, err
	}
	b, err := json.Marshal(ask)
	if err != nil {
		return false, err
	}
	if err := r.nc.PublishRequest(r.api+"DIRECT.GET."+stream, inbox, b); err != nil {
		return false, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return false, reason(ctx, err)
		}
		if m.Header.Get(headerStatus) != "" {
			return endOfPage(m.Header)
		}
		if err := take(m); err != nil {
			return false, err
		}
	}
}

// endOfPage reads the message that ends a page.
func endOfPage(h nats.Header) (more bool, err error) {
	switch status := h.Get(headerStatus); status {
	case "204":
		pending, err := strconv.ParseUint(h.Get(headerPending), 10, 64)
		if err != nil {
			return false, fmt.Errorf("read end of page: %w", err)
		}
		return pending > 0, nil
	case "404":
		return false, nil // nothing from there on
	case "503":
		return false, errors.New("the bucket is gone")
	default:
		return false, fmt.Errorf("the server answered %s %s", status, h.Get("Description"))
	}
}

// whole cuts off a batch at the end that lacks its last message, and returns the
// last sequence before it.
func whole(all []message, last uint64) ([]message, uint64) {
	if len(all) == 0 {
		return all, last
	}
	end := all[len(all)-1]
	if end.batch == "" || end.complete || end.Revision < last {
		return all, last
	}
	n := len(all)
	for n > 0 && all[n-1].batch == end.batch {
		n--
	}
	return all[:n], end.Revision - end.part
}

func entriesOf(all []message) []Entry {
	entries := make([]Entry, len(all))
	for i, m := range all {
		entries[i] = m.Entry
	}
	return entries
}
