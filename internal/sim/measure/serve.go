package measure

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

const (
	streamName = "sim"
	stored     = "kv.>" // written to the stream
	live       = "rt.>" // where the stream republishes to
	acks       = "ack"
)

// header is the beginning of each change: its number, when it was made (Unix
// nanoseconds), whether it is to be acknowledged.
const header = 17

func encode(seq int, at time.Time, ack bool) []byte {
	b := make([]byte, Payload)
	binary.LittleEndian.PutUint64(b, uint64(seq)) //nolint:gosec // counts from 0
	binary.LittleEndian.PutUint64(b[8:], uint64(at.UnixNano()))
	if ack {
		b[16] = 1
	}
	return b
}

func decode(b []byte) (seq int, at time.Time, ack bool) {
	return int(binary.LittleEndian.Uint64(b)), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))), b[16] == 1 //nolint:gosec // as encoded
}

// Serve is a child: a server as the first line of in describes it, then an answer
// on out for each request, until in ends.
func Serve(in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	var o serverOptions
	if err := dec.Decode(&o); err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	srv, err := o.start()
	if err != nil {
		return errors.Join(err, enc.Encode(reply{Error: err.Error()}))
	}
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	nc, err := dial(srv)
	if err != nil {
		return errors.Join(err, enc.Encode(reply{Error: err.Error()}))
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s := &service{srv: srv, nc: nc, js: js}
	var r reply
	if o.Accept {
		r.Leaf = leafAddr(srv)
	}
	for {
		if err := enc.Encode(r); err != nil {
			return err
		}
		var q request
		if err := dec.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if r, err = s.answer(q); err != nil {
			r.Error = err.Error()
		}
	}
}

func leafAddr(srv *server.Server) string {
	v, err := srv.Varz(nil)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", v.LeafNode.Port)
}

// service answers requests.
type service struct {
	srv *server.Server
	nc  *nats.Conn
	js  jetstream.JetStream
	sub *nats.Subscription

	mu     sync.Mutex  // guards what follows
	counts map[int]int // acknowledgements of each change
	proven []time.Duration
}

func (s *service) answer(q request) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch q.Op {
	case "cpu":
		return reply{CPU: processorTime()}, nil
	case "stat":
		return s.stat()
	case "stream":
		return reply{}, s.stream(ctx, q.Replicas)
	case "leader":
		st, err := s.js.Stream(ctx, streamName)
		if err != nil || st.CachedInfo().Cluster == nil {
			return reply{}, err
		}
		return reply{Name: st.CachedInfo().Cluster.Leader}, nil
	case "publish":
		return reply{}, s.paced(q, func(b []byte) error { return s.nc.Publish(q.Subject, b) })
	case "put":
		return s.put(ctx, q)
	case "try":
		return s.try(ctx, q)
	case "collect":
		return reply{}, s.collect(q.Count)
	case "collected":
		s.mu.Lock()
		defer s.mu.Unlock()
		return reply{Took: s.proven}, nil
	}
	return reply{}, fmt.Errorf("unknown request %q", q.Op)
}

func (s *service) stat() (reply, error) {
	runtime.GC()
	debug.FreeOSMemory()
	used, rss := memory()
	v, err := s.srv.Varz(nil)
	if err != nil {
		return reply{}, err
	}
	return reply{Used: used, RSS: rss, Out: v.OutBytes}, nil
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// memory returns heap and stacks in use, and what is resident, in bytes.
func memory() (used, rss int64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	used = int64(m.HeapInuse + m.StackInuse) //nolint:gosec // far below
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return used, 0
	}
	var size, pages int64
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &size, &pages); err != nil {
		return used, 0
	}
	return used, pages * int64(os.Getpagesize())
}

// stream makes the stream, as soon as the hubs have found each other.
func (s *service) stream(ctx context.Context, replicas int) error {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := s.js.CreateStream(try, jetstream.StreamConfig{
			Name: streamName, Subjects: []string{stored}, Replicas: replicas, MaxMsgsPerSubject: 1, AllowDirect: true,
			RePublish: &jetstream.RePublish{Source: stored, Destination: live},
		})
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// paced sends changes at a steady rate.
func (s *service) paced(q request, send func([]byte) error) error {
	tick := time.NewTicker(q.Every)
	defer tick.Stop()
	for i := range q.Count {
		<-tick.C
		if err := send(encode(i, time.Now(), q.Ack)); err != nil {
			return err
		}
	}
	return s.nc.Flush()
}

// put writes to the stream, and tells how long each write took.
func (s *service) put(ctx context.Context, q request) (reply, error) {
	var r reply
	err := s.paced(q, func(b []byte) error {
		start := time.Now()
		_, err := s.js.Publish(ctx, q.Subject, b)
		r.Took = append(r.Took, time.Since(start))
		return err
	})
	return r, err
}

// try writes until a write succeeds.
func (s *service) try(ctx context.Context, q request) (reply, error) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := s.js.Publish(attempt, q.Subject, encode(0, time.Now(), false))
		cancel()
		if err == nil {
			return reply{}, nil
		}
		pause(ctx, 10*time.Millisecond)
	}
	return reply{}, ctx.Err()
}

// collect counts acknowledgements from now on, so many for a change.
func (s *service) collect(each int) error {
	if s.sub != nil {
		if err := s.sub.Unsubscribe(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.counts, s.proven = map[int]int{}, nil
	s.mu.Unlock()
	var err error
	s.sub, err = s.nc.Subscribe(acks+".*", func(m *nats.Msg) {
		seq, at, _ := decode(m.Data)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.counts[seq]++; s.counts[seq] == each {
			s.proven = append(s.proven, time.Since(at))
		}
	})
	if err != nil {
		return err
	}
	return s.nc.Flush()
}
