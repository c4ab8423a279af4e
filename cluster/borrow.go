package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// copyFrom is the size of a register, in keys, from which on a copy is wanted: what is
	// smaller is one page of the stream.
	copyFrom = pageMessages
	// copyAhead is how many pages are asked for before the first of them is there.
	copyAhead = 8
	// offersIn is how long others may take to say what they have.
	offersIn = time.Second
)

var (
	errNoOffer  = errors.New("no hub has a copy that will do")
	errCopyGone = errors.New("the hub does not have the copy any more")
)

// borrow returns the register as another node knows it: the bucket that the leader has
// told of, and no older than that.
func (s *session) borrow(ctx context.Context, info bucketInfo) (*frozen, error) {
	sub, err := s.link.nc.SubscribeSync(s.link.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	b := &borrower{nc: s.link.nc, sub: sub, want: info.pos(), timeout: s.c.cfg.Timeout}
	if err := b.choose(ctx); err != nil {
		return nil, fmt.Errorf("ask for a copy of the register: %w", err)
	}
	f, err := b.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a copy of the register: %w", err)
	}
	return f, nil
}

// borrower takes one copy.
type borrower struct {
	nc      *nats.Conn
	sub     *nats.Subscription
	want    position
	timeout time.Duration // of each page
	from    string        // the subject of the node that lends
}

// choose settles on the first node whose offer will do. One that is behind for a moment
// is asked again.
func (b *borrower) choose(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, offersIn, errNoOffer)
	defer cancel()
	sub, err := b.nc.SubscribeSync(b.nc.NewInbox())
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // see borrow
	for {
		if err := b.nc.PublishRequest(subjectOffer, sub.Subject, nil); err != nil {
			return err
		}
		again := time.Now().Add(4 * behind)
		for time.Now().Before(again) {
			m, err := nextBefore(ctx, sub, again)
			switch {
			case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
				continue
			case err != nil:
				return reason(ctx, err)
			case m.Header.Get(headerStatus) != "":
				return errNoOffer // nobody listens
			}
			var o offer
			if len(m.Data) > maxAsk || json.Unmarshal(m.Data, &o) != nil || !isToken(o.Token) {
				continue
			}
			if bucketID(o.Bucket) == b.want.bucket && o.Revision >= b.want.seq {
				b.from = subjectCopy + o.Token
				return nil
			}
		}
	}
}

// nextBefore waits for a message until a time.
func nextBefore(ctx context.Context, sub *nats.Subscription, until time.Time) (*nats.Msg, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// isToken reports whether s may be a part of a subject.
func isToken(s string) bool {
	for _, r := range s {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64
}

// read reads all pages, of which several are on their way at a time.
func (b *borrower) read(ctx context.Context) (*frozen, error) {
	if err := b.ask(0, 0); err != nil {
		return nil, err
	}
	first, err := b.page(ctx)
	if err != nil {
		return nil, err
	}
	if first.page != 0 || first.pos.bucket != b.want.bucket || first.pos.seq < b.want.seq {
		return nil, fmt.Errorf("%w: it is of another register", errCopy)
	}
	f := &frozen{id: first.id, pos: first.pos, changed: first.changed, entries: first.entries}
	had, asked := make([]bool, first.pages), 1
	had[0] = true
	for got := 1; got < first.pages; got++ {
		for ; asked < min(first.pages, got+copyAhead); asked++ {
			if err := b.ask(first.id, asked); err != nil {
				return nil, err
			}
		}
		p, err := b.page(ctx)
		if err != nil {
			return nil, err
		}
		if p.id != first.id || p.pages != first.pages || had[p.page] {
			return nil, fmt.Errorf("%w: it is of another copy, or came twice", errCopy)
		}
		had[p.page] = true
		f.entries = append(f.entries, p.entries...)
	}
	if uint64(len(f.entries)) != first.total {
		return nil, fmt.Errorf("%w: %d entries of %d", errCopy, len(f.entries), first.total)
	}
	return f, nil
}

func (b *borrower) ask(id uint64, page int) error {
	ask, err := json.Marshal(pageAsk{Copy: id, Bucket: int64(b.want.bucket), Revision: b.want.seq, Page: page})
	if err != nil {
		return err
	}
	return b.nc.PublishRequest(b.from, b.sub.Subject, ask)
}

// page waits for the next page.
func (b *borrower) page(ctx context.Context) (copyPage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.timeout, errNoAnswer)
	defer cancel()
	m, err := b.sub.NextMsgWithContext(ctx)
	if err != nil {
		return copyPage{}, reason(ctx, err)
	}
	if len(m.Data) == 0 { // nobody is there, or it was dropped
		return copyPage{}, errCopyGone
	}
	return decodeCopyPage(m.Data)
}
