package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Offline is something that was done to the data directory of a node that is stopped. The
// node puts it into the audit log when it is up.
type Offline struct {
	ID     string    `json:"id"` // its own: it is noted once
	Time   time.Time `json:"time"`
	Who    string    `json:"who"` // the user of the machine
	Action string    `json:"action"`
	Detail string    `json:"detail,omitempty"`
}

// maxOffline bounds the bytes of the file.
const maxOffline = 1 << 20

// Note adds the record to a file, for a node whose [Config] names that one as Offline,
// unless it is in it. It returns when it is on disk.
func (o Offline) Note(file string) error {
	noted, err := readOffline(file)
	if err != nil {
		return err
	}
	for _, n := range noted {
		if n.ID == o.ID {
			return nil
		}
	}
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a file of ours
	if err != nil {
		return fmt.Errorf("note for the audit log: %w", err)
	}
	_, err = f.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'})) // the line before it may have no end
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("note for the audit log: %w", err)
	}
	return nil
}

// readOffline reads such a file; there may be none. A line that was not finished is left
// out: what it was about was not reported as done.
func readOffline(file string) ([]Offline, error) {
	b, err := os.ReadFile(file) //nolint:gosec // a file of ours
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(b) > maxOffline {
		err = fmt.Errorf("%s has %d bytes, more than %d", file, len(b), maxOffline)
	}
	if err != nil {
		return nil, fmt.Errorf("read the notes for the audit log: %w", err)
	}
	var all []Offline
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		var o Offline
		if json.Unmarshal(lines.Bytes(), &o) == nil && o.ID != "" {
			all = append(all, o)
		}
	}
	return all, nil
}

// keepOffline appends what was noted while the node was stopped, and then forgets it. It
// reports whether there is nothing left to do.
func (l *ledger) keepOffline(ctx context.Context) (done bool) {
	if l.stream == nil || l.offline == "" {
		return true
	}
	noted, err := readOffline(l.offline)
	if err != nil {
		l.log.Error("changes made offline are not in the audit log", "error", err)
		return true
	}
	var records []*orlav1.AuditRecord
	for _, o := range noted {
		r := &orlav1.AuditRecord{
			Id: clip(o.ID), Time: timestamppb.New(o.Time), Node: l.node, Action: clip(o.Action), Token: clip(o.Who), Address: addressLocal,
			Detail: clip(o.Detail), Outcome: outcomeOK,
		}
		if err := l.append(ctx, r); err != nil && !errors.Is(err, cluster.ErrAuditInvalid) {
			return false
		}
		records = append(records, r)
	}
	for _, r := range records {
		l.toFile(r)
	}
	if err := os.Remove(l.offline); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Error("changes made offline may get into the audit log again", "error", err)
	}
	return true
}

// addressLocal stands for the machine itself, where nobody has called.
const addressLocal = "local"
