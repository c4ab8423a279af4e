package peer

import (
	"errors"
	"net/http"
	"time"

	"github.com/orla-edge/orla/modules"
)

// Limits bounds what a [NewHandler] handler does at once.
type Limits struct {
	Requests int           // served at a time; zero means 64
	Waiting  int           // waiting for their turn; more are refused; zero means 4096
	Wait     time.Duration // the longest that a request waits for its turn; zero means 10 s
	Stall    time.Duration // a client that takes no byte for so long is cut off; zero means 30 s
}

func (l Limits) withDefaults() Limits {
	if l.Requests <= 0 {
		l.Requests = 64
	}
	if l.Waiting <= 0 {
		l.Waiting = 4096
	}
	if l.Wait <= 0 {
		l.Wait = 10 * time.Second
	}
	if l.Stall <= 0 {
		l.Stall = 30 * time.Second
	}
	return l
}

// handler serves a Dir's blobs and nothing else.
type handler struct {
	dir    *modules.Dir
	limits Limits
	places chan struct{} // one for each request being served
	queue  chan struct{} // one for each request being served or waiting
}

// NewHandler returns a handler that serves the blobs of dir to whoever can reach
// it; see the package's documentation for the requests. Answers stop when the
// handler's server closes; dir must stay open until then.
func NewHandler(dir *modules.Dir, limits Limits) http.Handler {
	l := limits.withDefaults()
	h := &handler{
		dir: dir, limits: l,
		places: make(chan struct{}, l.Requests),
		queue:  make(chan struct{}, l.Requests+l.Waiting),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/{digest}", h.blob)
	mux.HandleFunc("POST /blobs/missing", h.missing)
	mux.HandleFunc("POST /blobs/batch", h.batch)
	return h.limited(mux)
}

// limited lets as many requests pass at a time as the limits say.
func (h *handler) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Answers without a pace of their own are short.
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.limits.Wait + h.limits.Stall)) //nolint:errcheck,gosec // then the server's own limit holds
		select {
		case h.queue <- struct{}{}:
			defer func() { <-h.queue }()
		default:
			busy(w)
			return
		}
		turn := time.NewTimer(h.limits.Wait)
		defer turn.Stop()
		select {
		case h.places <- struct{}{}:
			defer func() { <-h.places }()
			next.ServeHTTP(w, r)
		case <-turn.C:
			busy(w)
		case <-r.Context().Done():
		}
	})
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "busy", http.StatusServiceUnavailable)
}

func (h *handler) blob(w http.ResponseWriter, r *http.Request) {
	digest, err := modules.ParseDigest(r.PathValue("digest"))
	if err != nil {
		http.Error(w, "not a digest", http.StatusBadRequest)
		return
	}
	f, err := h.dir.Open(digest)
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close() //nolint:errcheck // opened for reading
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+digest.String()+`"`)
	http.ServeContent(h.pace(w), r, "", time.Time{}, f)
}

func (h *handler) missing(w http.ResponseWriter, r *http.Request) {
	list, ok := h.list(w, r)
	if !ok {
		return
	}
	var lacks []modules.Digest
	for _, d := range list {
		if !h.dir.Has(d) {
			lacks = append(lacks, d)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	h.pace(w).Write(formatDigests(lacks)) //nolint:errcheck,gosec // the client is gone
}

// list reads the digests in the request's body, or answers that it cannot.
func (h *handler) list(w http.ResponseWriter, r *http.Request) ([]modules.Digest, bool) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(h.limits.Stall)) //nolint:errcheck,gosec // then the server's own limit holds
	list, err := readDigests(http.MaxBytesReader(w, r.Body, int64((maxList+1)*lineSize)))
	control.SetReadDeadline(time.Time{}) //nolint:errcheck,gosec // the same
	if err != nil {
		http.Error(w, errList.Error(), http.StatusBadRequest)
		return nil, false
	}
	return list, true
}

func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, modules.ErrNotFound) {
		http.Error(w, "no such blob", http.StatusNotFound)
		return
	}
	http.Error(w, "the blob can't be read", http.StatusInternalServerError)
}

// pacedWriter gives the client the same time for each piece of an answer, however
// long the answer is.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	left    int // bytes that the present deadline covers
}

// pieceSize is how much a client has to take before its deadline is set anew.
const pieceSize = 1 << 20

func (h *handler) pace(w http.ResponseWriter) *pacedWriter {
	return &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: h.limits.Stall}
}

func (w *pacedWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		w.left = pieceSize
		w.control.SetWriteDeadline(time.Now().Add(w.stall)) //nolint:errcheck,gosec // then the server's own limit holds
	}
	return w.ResponseWriter.Write(b)
}
