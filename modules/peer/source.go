package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orla-edge/orla/modules"
)

// Store is a place outside the cluster's nodes where blobs are kept by digest: a
// bucket, a registry. Its methods may be called concurrently. A Store that is a
// [fmt.Stringer] is called so in errors and logs.
type Store interface {
	// Get streams the blob from the given offset, which is less than its size or
	// zero, to its end. The bytes are not verified. The error wraps [modules.ErrNotFound] if the store
	// lacks the blob. The caller closes the stream.
	Get(ctx context.Context, digest modules.Digest, offset int64) (io.ReadCloser, error)
	// Put stores the size bytes of r. Others than the digest's do not become visible:
	// the error wraps [modules.ErrDigest].
	Put(ctx context.Context, digest modules.Digest, size int64, r io.Reader) error
	// Has reports whether the store has the blob.
	Has(ctx context.Context, digest modules.Digest) (bool, error)
}

// source is a peer or a store to get blobs from.
type source struct {
	name string
	base string // of a peer; empty for a store
	get  func(ctx context.Context, digest modules.Digest, offset int64) (io.ReadCloser, error)
}

// errBusy means that a peer has too much to do. It is neither dead nor wrong.
var errBusy = errors.New("is busy")

const (
	failedFor = 30 * time.Second // how long a source that failed is tried last
	wrongFor  = 10 * time.Minute // the same for one that sent wrong bytes
)

// health remembers which sources failed lately.
type health struct {
	mu    sync.Mutex           // guards until
	until map[string]time.Time // by the source's name
}

func (h *health) failed(name string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until[name]) {
		h.until[name] = until
	}
}

func (h *health) worked(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, name)
}

// order sorts those that failed lately behind the others, and forgets what is over.
func (h *health) order(sources []source, now time.Time) []source {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, until := range h.until {
		if !until.After(now) {
			delete(h.until, name)
		}
	}
	slices.SortStableFunc(sources, func(a, b source) int {
		return h.until[a.name].Compare(h.until[b.name])
	})
	return sources
}

// sources returns where to look for a blob, best first: the preferred peers, the
// other peers, the stores, and then those of them that failed lately.
func (f *Fetcher) sources(c call) []source {
	var all []source
	seen := map[string]bool{}
	for _, base := range c.peers {
		base = strings.TrimRight(base, "/")
		if base == "" || seen[base] {
			continue
		}
		seen[base] = true
		all = append(all, f.peer(base))
	}
	for i, s := range f.stores {
		all = append(all, source{name: storeName(i, s), get: s.Get})
	}
	return f.health.order(all, time.Now())
}

func storeName(i int, s Store) string {
	if s, ok := s.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("store %d", i+1)
}

// peer returns the source that is the node at the base URL.
func (f *Fetcher) peer(base string) source {
	return source{name: base, base: base, get: func(ctx context.Context, digest modules.Digest, offset int64) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/blobs/"+digest.String(), nil)
		if err != nil {
			return nil, err
		}
		if offset > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		}
		resp, err := f.send(req)
		if err != nil {
			return nil, err
		}
		if offset > 0 && resp.StatusCode != http.StatusPartialContent {
			return nil, errors.Join(errors.New("ignores the range asked for"), resp.Body.Close())
		}
		return resp.Body, nil
	}}
}

// send sends a request to a peer and returns its answer if it is a good one. The
// caller closes the body.
func (f *Fetcher) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	case http.StatusNotFound:
		err = modules.ErrNotFound
	case http.StatusServiceUnavailable:
		err = errBusy
	case http.StatusRequestedRangeNotSatisfiable:
		err = fmt.Errorf("%w: it is shorter there", errWrong)
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		err = fmt.Errorf("answers %s: %q", resp.Status, strings.TrimSpace(string(text)))
	}
	io.CopyN(io.Discard, resp.Body, 4<<10) //nolint:errcheck,gosec // so that the connection can be used again
	return nil, errors.Join(err, resp.Body.Close())
}

// post sends a list of digests to a peer. The caller closes the answer.
func (f *Fetcher) post(ctx context.Context, base, path string, digests []modules.Digest) (io.ReadCloser, error) {
	body := bytes.NewReader(formatDigests(digests))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := f.send(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
