package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// bucketInfo is what the stream's leader tells of the bucket.
type bucketInfo struct {
	Created time.Time
	LastSeq uint64
	Msgs    uint64
}

func (i bucketInfo) pos() position { return position{created: i.Created.UnixNano(), seq: i.LastSeq} }

// errGone: there is no bucket.
var errGone = errors.New("the bucket is gone")

func (r *register) jetStream() (jetstream.JetStream, error) {
	return jetstream.NewWithAPIPrefix(r.nc, r.api[:len(r.api)-1])
}

// info asks the stream's leader. It returns errGone if there is no stream.
func (r *register) info(ctx context.Context) (bucketInfo, error) {
	info, err := r.stream(ctx)
	if err != nil {
		return bucketInfo{}, err
	}
	return bucketInfo{Created: info.Created, LastSeq: info.State.LastSeq, Msgs: info.State.Msgs}, nil
}

func (r *register) stream(ctx context.Context) (*jetstream.StreamInfo, error) {
	js, err := r.jetStream()
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the bucket: %w", reason(ctx, err))
	}
	return s.CachedInfo(), nil
}

// bucketConfig is the stream's configuration: that of a key-value bucket with a
// history of 1 (a head carries its own), and what commit and sync need.
func bucketConfig(first uint64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subjectPrefix + ">"},
		Storage: jetstream.FileStorage, Replicas: 1, FirstSeq: first,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, AllowDirect: true,
		AllowAtomicPublish: true,
		RePublish:          &jetstream.RePublish{Source: subjectPrefix + ">", Destination: republished + ">"},
	}
}

// create makes the bucket, its first sequence the given one, or 1 for 0.
func (r *register) create(ctx context.Context, first uint64) error {
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, bucketConfig(first)); err != nil {
		return fmt.Errorf("create the bucket: %w", reason(ctx, err))
	}
	return nil
}

// remove deletes the bucket, if there is one.
func (r *register) remove(ctx context.Context) error {
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, streamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the bucket: %w", reason(ctx, err))
	}
	return nil
}

// configure gives a bucket that was made by something else what commit and sync need.
func (r *register) configure(ctx context.Context) error {
	info, err := r.stream(ctx)
	if err != nil {
		return err
	}
	cfg, want := info.Config, bucketConfig(0)
	same := cfg.RePublish != nil && *cfg.RePublish == *want.RePublish
	if same && cfg.AllowAtomicPublish && cfg.AllowDirect && cfg.MaxMsgsPerSubject == want.MaxMsgsPerSubject {
		return nil
	}
	cfg.RePublish, cfg.AllowAtomicPublish, cfg.AllowDirect = want.RePublish, true, true
	cfg.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("configure the bucket: %w", reason(ctx, err))
	}
	return nil
}
