package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// bucketInfo is what the stream's leader tells of the bucket.
type bucketInfo struct {
	ID      bucketID
	LastSeq uint64
	Msgs    uint64
}

func (i bucketInfo) pos() position { return position{bucket: i.ID, seq: i.LastSeq} }

// bucketID tells one bucket from another that was made in its place: the stream's
// metadata have it. Its low bits count how often the bucket was made anew on purpose,
// from what was known of the one before.
type bucketID int64

const (
	metaBucket = "orla.bucket"
	// metaUnfinished is in a bucket that somebody is filling: nobody else uses it. Its
	// value says who.
	metaUnfinished = "orla.unfinished"
	byRescue       = "1"
	byGrown        = "grow"
	epochBits      = 16
)

func newBucketID(now time.Time) bucketID { return bucketID(now.UnixNano() &^ (1<<epochBits - 1)) }

// next is the identity of the bucket that takes the place of this one.
func (id bucketID) next() bucketID { return id + 1 }

// continues reports whether the bucket is this one or one that was made from it.
func (id bucketID) continues(of bucketID) bool { return id>>epochBits == of>>epochBits && id >= of }

func idOf(info *jetstream.StreamInfo) bucketID {
	if id, err := strconv.ParseInt(info.Config.Metadata[metaBucket], 10, 64); err == nil {
		return bucketID(id)
	}
	return bucketID(info.Created.UnixNano())
}

// errGone: there is no bucket.
var errGone = errors.New("the bucket is gone")

// errUnfinished: the bucket is not whole yet.
var errUnfinished = errors.New("the register is being made anew; if whoever did that was interrupted, do it again: see `orla cluster rescue --help`")

// errBrought: the bucket is not whole yet, and one hub alone can mend that.
var errBrought = errors.New("a hub is bringing the register along from when it was alone: wait until it has, and start that hub if it is down")

func (r *register) jetStream() (jetstream.JetStream, error) {
	return jetstream.NewWithAPIPrefix(r.nc, r.api[:len(r.api)-1])
}

// info asks the stream's leader. It returns errGone if there is no stream, and what is
// known besides errUnfinished or errBrought.
func (r *register) info(ctx context.Context) (bucketInfo, error) {
	info, err := r.stream(ctx)
	if err != nil {
		return bucketInfo{}, err
	}
	told := bucketInfo{ID: idOf(info), LastSeq: info.State.LastSeq, Msgs: info.State.Msgs}
	switch info.Config.Metadata[metaUnfinished] {
	case "":
		return told, nil
	case byGrown:
		return told, errBrought
	}
	return told, errUnfinished
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
func bucketConfig(id bucketID, first uint64, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subjectPrefix + ">"}, Metadata: map[string]string{metaBucket: strconv.FormatInt(int64(id), 10)},
		Storage: jetstream.FileStorage, Replicas: replicas, FirstSeq: first,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, AllowDirect: true,
		AllowAtomicPublish: true,
		RePublish:          &jetstream.RePublish{Source: subjectPrefix + ">", Destination: republished + ">"},
	}
}

// create makes the bucket, its first sequence the given one, or 1 for 0.
func (r *register) create(ctx context.Context, id bucketID, first uint64, replicas int) error {
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, bucketConfig(id, first, replicas)); err != nil {
		return fmt.Errorf("create the bucket: %w", reason(ctx, err))
	}
	r.bucket.Store(int64(id))
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

// configure gives a bucket that was made by something else what commit and sync need,
// and at least so many replicas.
func (r *register) configure(ctx context.Context, replicas int) error {
	info, err := r.stream(ctx)
	if err != nil {
		return err
	}
	cfg, want := info.Config, bucketConfig(idOf(info), 0, max(replicas, info.Config.Replicas))
	same := cfg.RePublish != nil && *cfg.RePublish == *want.RePublish && cfg.Metadata[metaBucket] == want.Metadata[metaBucket]
	if same && cfg.AllowAtomicPublish && cfg.AllowDirect && cfg.MaxMsgsPerSubject == want.MaxMsgsPerSubject && cfg.Replicas == want.Replicas {
		return nil
	}
	cfg.RePublish, cfg.AllowAtomicPublish, cfg.AllowDirect = want.RePublish, true, true
	cfg.MaxMsgsPerSubject, cfg.Replicas = want.MaxMsgsPerSubject, want.Replicas
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[metaBucket] = want.Metadata[metaBucket]
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("configure the bucket: %w", reason(ctx, err))
	}
	return nil
}
