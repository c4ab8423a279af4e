package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files in the data directory by which a running node is asked for an upgrade.
const (
	requestFile = "upgrade.json"
	outcomeFile = "upgraded.json"
	// maxRequest bounds both files, in bytes.
	maxRequest = 64 << 10
)

// request is what [AskUpgrade] leaves for the node.
type request struct {
	ID     string `json:"id"`
	Binary string `json:"binary,omitempty"` // absolute; empty: the node's own
	// Timeout is how long the new process may take until it serves; 0 means 60 s.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Outcome is how an upgrade went.
type Outcome struct {
	ID string `json:"id"`
	// Error is why the node goes on as it was; empty: it was replaced.
	Error string `json:"error,omitempty"`
	// Pid is the new process, From and To are the versions.
	Pid  int    `json:"pid,omitempty"`
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// Took is the time from the signal until the new process served, in nanoseconds.
	Took time.Duration `json:"took"`
}

// answerIn is how much longer than the upgrade its outcome may take.
const answerIn = 15 * time.Second

// outcomeEvery is how often an outcome is looked for.
const outcomeEvery = 10 * time.Millisecond

// AskUpgrade has the node that runs on the data directory replaced by the binary,
// an absolute path, which has to serve within the timeout (0: 60 s), and returns how
// that went. It returns [ErrNotRunning], or an error if the node can't be asked or
// gives no answer. signal sends the process of that number the signal for an
// upgrade.
func AskUpgrade(ctx context.Context, dir, binary string, timeout time.Duration, signal func(pid int) error) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(timeout, upgradeTimeout)+answerIn, errors.New("it does not answer; its log may have the reason"))
	defer cancel()
	pid, err := runningPid(dir)
	if err != nil {
		return Outcome{}, err
	}
	ask := request{ID: rand.Text(), Binary: binary, Timeout: timeout}
	b, err := json.Marshal(ask)
	if err != nil {
		return Outcome{}, err
	}
	// Readable for the node's user, who may be another one; the directory is not
	// open to anybody else.
	if err := writeFile(filepath.Join(dir, requestFile), string(b), 0o644); err != nil {
		return Outcome{}, fmt.Errorf("ask for the upgrade: %w", err)
	}
	if err := signal(pid); err != nil {
		return Outcome{}, fmt.Errorf("signal process %d: %w", pid, err)
	}
	tick := time.NewTicker(outcomeEvery)
	defer tick.Stop()
	for {
		out, err := readOutcome(dir)
		if err == nil && out.ID == ask.ID {
			return out, nil
		}
		if _, err := runningPid(dir); errors.Is(err, ErrNotRunning) {
			return Outcome{}, fmt.Errorf("process %d has ended, and none took over: start the node again; its log has the reason", pid)
		}
		select {
		case <-ctx.Done():
			return Outcome{}, fmt.Errorf("wait for process %d to be replaced: %w", pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// takeRequest returns what is asked for, once. A bare signal asks for the node's
// own binary.
func takeRequest(dir string) (request, error) {
	path := filepath.Join(dir, requestFile)
	var ask request
	err := readJSON(path, &ask)
	if errors.Is(err, fs.ErrNotExist) {
		return request{}, nil
	}
	err = errors.Join(err, os.Remove(path))
	switch {
	case err != nil:
	case ask.Binary != "" && !filepath.IsAbs(ask.Binary):
		err = fmt.Errorf("%s: the path %q is not absolute", requestFile, ask.Binary)
	case ask.Timeout < 0 || ask.Timeout > MaxUpgradeTimeout:
		err = fmt.Errorf("%s: the timeout %v is not between 0 and %v", requestFile, ask.Timeout, MaxUpgradeTimeout)
	}
	return ask, err
}

func writeOutcome(dir string, out Outcome) error {
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, outcomeFile), string(b), 0o644)
}

func readOutcome(dir string) (out Outcome, err error) {
	return out, readJSON(filepath.Join(dir, outcomeFile), &out)
}

func readJSON(path string, v any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxRequest {
		return fmt.Errorf("%s has %d bytes, limit %d", path, info.Size(), maxRequest)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
