package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// ledgerPatience bounds one attempt to keep a record in the cluster, and how long who
	// reads the log waits for what this node has yet to write.
	ledgerPatience = 2 * time.Second
	// ledgerRetry is after how long records that could not be kept are tried again, and
	// ledgerQuiet for how long that is nothing to speak of: the log may be as new as the
	// cluster, or its leader.
	ledgerRetry = time.Second
	ledgerQuiet = 3 * time.Second
	// maxWaiting bounds the records that wait; older ones are in the node's file only.
	maxWaiting = 1000

	// refusedBurst refusals of a caller are recorded one by one, then one in
	// refusedEvery; all strangers are one caller.
	refusedBurst = 20
	refusedEvery = 10 * time.Second
	maxCallers   = 1000

	// spoolSuffix is what the file's name has behind it where records wait for the cluster.
	spoolSuffix = ".waiting"
	maxSpool    = 8 << 20
	spoolEnough = 64 << 10 // from here on the file is emptied where nothing waits

	maxLedgerFile = 8 << 20
	ledgerFiles   = 4 // besides the one that is written
)

// ledger keeps the audit records: in a file of the node, before the call ends, and soon
// after in the cluster. What waits for that survives the end of the process.
type ledger struct {
	stream  *cluster.Audit // nil: this node keeps none in the cluster
	file    string         // empty: none
	offline string         // see Config.Offline
	node    string
	log     *slog.Logger
	news    chan struct{} // holds a token when records wait
	loading sync.Once

	mu      sync.Mutex // guards what follows
	waiting []*orlav1.AuditRecord
	drained chan struct{} // closed when none waits any more; nil: nobody asks
	lost    int           // of those that waited
	since   time.Time     // of the first attempt that failed, and all after it; zero: the last one did not
	failing bool          // that has been logged
	refused map[string]*refusals
	said    bool // the failure of the file has been logged

	filing sync.Mutex // one writer of the file at a time; taken alone
}

// refusals is how often a caller has been refused of late.
type refusals struct {
	left    float64 // that are recorded without a wait, at the time
	at      time.Time
	leftOut uint64
}

// write keeps a record. What the record is about has happened: there is no error.
func (l *ledger) write(r *orlav1.AuditRecord, done bool) {
	if !done && !l.admit(r, time.Now()) {
		return
	}
	l.toFile(r)
	if l.stream == nil {
		return
	}
	l.load()
	l.mu.Lock()
	l.waitLocked(r)
	l.spoolLocked(r)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// admit reports whether a refusal is to be recorded, and notes in the record how many
// before it were not.
func (l *ledger) admit(r *orlav1.AuditRecord, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == nil || len(l.refused) >= maxCallers {
		l.refused = map[string]*refusals{}
	}
	c := l.refused[r.GetTokenId()]
	if c == nil {
		c = &refusals{left: refusedBurst, at: now}
		l.refused[r.GetTokenId()] = c
	}
	c.left = min(refusedBurst, c.left+float64(now.Sub(c.at))/float64(refusedEvery))
	c.at = now
	if c.left < 1 {
		c.leftOut++
		return false
	}
	c.left--
	r.LeftOut, c.leftOut = c.leftOut, 0
	return true
}

func (l *ledger) append(ctx context.Context, r *orlav1.AuditRecord) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerPatience)
	defer cancel()
	b, err := encode(r)
	if err != nil {
		return err
	}
	return l.stream.Append(ctx, cluster.AuditRecord{ID: r.GetId(), Topic: auditTopic(r.GetApp()), Data: b})
}

// auditTopic is what the records of an app are filed under. No app has a longer name.
func auditTopic(app string) string {
	const longest = 63
	if len(app) > longest {
		return ""
	}
	return app
}

func (l *ledger) waitLocked(r *orlav1.AuditRecord) {
	if len(l.waiting) >= maxWaiting {
		l.waiting = l.waiting[1:]
		if l.lost++; l.lost == 1 {
			l.log.Error("audit records are in this node's file only from now on", "file", l.file)
		}
	}
	l.waiting = append(l.waiting, r)
}

// spoolLocked notes a record for the next process; one without an ID says that all before
// it are kept. Without the note the record is in memory, and in the node's file.
func (l *ledger) spoolLocked(r *orlav1.AuditRecord) {
	if l.file == "" {
		return
	}
	f, err := os.OpenFile(l.file+spoolSuffix, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(spoolTo(f, r), f.Close())
	}
	if err != nil && !l.failing {
		l.log.Error("audit record would be lost to the cluster if this process ended now", "error", err)
	}
}

func spoolTo(f *os.File, r *orlav1.AuditRecord) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if r.GetId() == "" && info.Size() > spoolEnough {
		return f.Truncate(0)
	}
	if info.Size() > maxSpool {
		return nil
	}
	_, err = protodelim.MarshalTo(f, r)
	return err
}

// load takes over, once, what the process before has left.
func (l *ledger) load() {
	l.loading.Do(func() {
		if l.file == "" {
			return
		}
		b, err := os.ReadFile(l.file + spoolSuffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Error("audit records of the last process are in this node's file only", "error", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for in := bytes.NewReader(b); ; {
			whole := int64(len(b) - in.Len())
			r := new(orlav1.AuditRecord)
			switch err := protodelim.UnmarshalFrom(in, r); {
			case errors.Is(err, io.EOF):
				return
			case err != nil: // what a crash has cut off
				_ = os.Truncate(l.file+spoolSuffix, whole) // at worst they are kept twice
				return
			case r.GetId() == "":
				l.waiting, l.lost = nil, 0
			default:
				l.waitLocked(r)
			}
		}
	})
}

// run keeps what waits in the cluster, until ctx ends.
func (l *ledger) run(ctx context.Context) {
	l.load()
	tick := time.NewTicker(ledgerRetry)
	defer tick.Stop()
	done := l.keepOffline(ctx)
	for {
		l.retry(ctx)
		select {
		case <-ctx.Done():
			return
		case <-l.news:
		case <-tick.C:
			done = done || l.keepOffline(ctx)
		}
	}
}

// retry appends what waits, in order, up to the first failure.
func (l *ledger) retry(ctx context.Context) {
	for ctx.Err() == nil {
		next := l.next()
		if next == nil {
			return
		}
		err := l.append(ctx, next)
		if err != nil && !errors.Is(err, cluster.ErrAuditInvalid) {
			l.failed(ctx, next, err)
			return
		}
		l.kept(next)
	}
}

// next returns the record that has waited longest; nil if none waits.
func (l *ledger) next() *orlav1.AuditRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0]
}

// failed says, once, that records have to wait, if they have for long.
func (l *ledger) failed(ctx context.Context, r *orlav1.AuditRecord, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.since = time.Now()
	}
	if !l.failing && ctx.Err() == nil && time.Since(l.since) >= ledgerQuiet {
		l.failing = true
		l.log.Error("audit record not kept in the cluster, will try again", "action", r.GetAction(), "app", r.GetApp(), "who", r.GetToken(), "error", err)
	}
}

// kept takes a record from those that wait.
func (l *ledger) kept(r *orlav1.AuditRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 && l.waiting[0] == r {
		l.waiting = l.waiting[1:]
	}
	if len(l.waiting) > 0 {
		return
	}
	if l.failing || l.lost > 0 {
		l.log.Info("audit records are kept in the cluster again", "dropped", l.lost)
	}
	l.since, l.failing, l.lost = time.Time{}, false, 0
	l.spoolLocked(&orlav1.AuditRecord{})
	if l.drained != nil {
		close(l.drained)
		l.drained = nil
	}
}

// drain waits, not for long, until nothing waits.
func (l *ledger) drain(ctx context.Context) {
	l.mu.Lock()
	if len(l.waiting) == 0 || l.failing {
		l.mu.Unlock()
		return
	}
	if l.drained == nil {
		l.drained = make(chan struct{})
	}
	drained := l.drained
	l.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-time.After(ledgerPatience):
	}
}

// ledgerLine is a record in the file.
type ledgerLine struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Node    string    `json:"node"`
	Action  string    `json:"action"`
	App     string    `json:"app,omitempty"`
	Target  string    `json:"target,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Token   string    `json:"token,omitempty"`
	TokenID string    `json:"tokenId,omitempty"`
	Address string    `json:"address"`
	Via     string    `json:"via,omitempty"`
	Outcome string    `json:"outcome"`
	Error   string    `json:"error,omitempty"`
	Ms      float64   `json:"ms"`
	LeftOut uint64    `json:"leftOut,omitempty"`
}

// toFile appends a record to the node's file.
func (l *ledger) toFile(r *orlav1.AuditRecord) {
	if l.file == "" {
		return
	}
	line, err := json.Marshal(ledgerLine{
		Time: r.GetTime().AsTime(), ID: r.GetId(), Node: r.GetNode(), Action: r.GetAction(), App: r.GetApp(), Target: r.GetTarget(), Detail: r.GetDetail(),
		Token: r.GetToken(), TokenID: r.GetTokenId(), Address: r.GetAddress(), Via: r.GetVia(), Outcome: r.GetOutcome(), Error: r.GetError(),
		Ms: r.GetMs(), LeftOut: r.GetLeftOut(),
	})
	if err == nil {
		l.filing.Lock()
		err = appendRotating(l.file, append(line, '\n'), maxLedgerFile, ledgerFiles)
		l.filing.Unlock()
	}
	l.mu.Lock()
	said := l.said
	l.said = err != nil
	l.mu.Unlock()
	if err != nil && !said {
		l.log.Error("audit record not written to this node's file", "error", err)
	}
}

// appendRotating appends a line to a file, which becomes file.1 when it has grown past
// limit; of those, keep are kept. It opens the file anew, so that two processes of a
// node that is being replaced write one file.
func appendRotating(file string, line []byte, limit int64, keep int) (err error) {
	info, err := os.Stat(file)
	if err == nil && info.Size()+int64(len(line)) > limit {
		for i := keep; i > 0; i-- {
			from := file
			if i > 1 {
				from = file + "." + strconv.Itoa(i-1)
			}
			if err := os.Rename(from, file+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("rotate %s: %w", file, err)
			}
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a file of ours
	if err != nil {
		return fmt.Errorf("open the audit file: %w", err)
	}
	_, err = f.Write(line)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the audit file: %w", err)
	}
	return nil
}
