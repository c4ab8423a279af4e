package node

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/orla-edge/orla/server"
)

// adminServer serves the API, the health checks and the metrics.
func (n *Node) adminServer() (*server.Server, error) {
	mux := http.NewServeMux()
	mux.Handle(n.api())
	mux.Handle("GET /metrics", n.telemetry.MetricsHandler())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, health{Status: "ok"}) })
	mux.HandleFunc("GET /healthz", n.healthz)
	mux.HandleFunc("GET /readyz", n.readyz)
	return server.New(server.Config{
		HTTP: []net.Listener{n.listeners.admin}, Handler: mux, Logger: n.log.With("listener", "admin"), AccessLevel: slog.LevelDebug, Node: n.cfg.Name,
		Shared: n.shared,
	})
}

// health is the answer of the health checks.
type health struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	// Revision of the register that the node serves.
	Revision uint64 `json:"revision,omitempty"`
	// Register is why changes can't be made now; the node serves without it.
	Register string `json:"register,omitempty"`
	// HeartbeatMs is how long ago the cluster was heard of, in milliseconds.
	HeartbeatMs *float64 `json:"heartbeatMs,omitempty"`
	// Lag is how many revisions the node has heard of that it does not serve yet.
	Lag uint64 `json:"lag,omitempty"`
	// Refused are the apps whose newest release the node did not take over.
	Refused []string `json:"refused,omitempty"`
	// Certificates says which end soon, or have ended. The node is ready all the same.
	Certificates string `json:"certificates,omitempty"`
}

// ReadyWhen is when a node that serves says that it is ready.
const (
	// ReadyServing: always. A node that is cut off serves its last good state.
	ReadyServing = "serving"
	// ReadyCurrent: as long as it serves what the cluster does.
	ReadyCurrent = "current"
)

// currentWithin is how old the last word of the cluster may be for ReadyCurrent.
const currentWithin = 10 * time.Second

// outdated returns why the node may serve something else than the cluster does; empty:
// it does not.
func (n *Node) outdated() string {
	if age, ok := n.register.Heartbeat(); ok && age > currentWithin {
		return "no word from the cluster for " + age.Round(time.Second).String()
	}
	if refused := n.control.Refused(); len(refused) > 0 {
		return "the newest release is refused of: " + strings.Join(refused, ", ")
	}
	return ""
}

// readyz says whether to send requests here. Unless it is asked for by ReadyCurrent, a
// node whose register is out of reach is ready: it serves its last good state.
func (n *Node) readyz(w http.ResponseWriter, _ *http.Request) {
	switch phase := n.phase.Load(); {
	case phase == serving && n.isDrained():
		answer(w, http.StatusServiceUnavailable, health{Status: "not ready", Reason: "drained: orla nodes resume " + n.cfg.Name})
	case phase == serving && n.cfg.ReadyWhen == ReadyCurrent && n.outdated() != "":
		h := n.health("not ready")
		h.Reason = n.outdated()
		answer(w, http.StatusServiceUnavailable, h)
	case phase == serving:
		answer(w, http.StatusOK, n.health("ready"))
	case phase == draining:
		answer(w, http.StatusServiceUnavailable, health{Status: "not ready", Reason: "draining"})
	default:
		answer(w, http.StatusServiceUnavailable, health{Status: "not ready", Reason: "starting"})
	}
}

// healthz says whether all is well. Its status stays 200 where somebody should
// look but nothing is gained by a restart: the node serves.
func (n *Node) healthz(w http.ResponseWriter, _ *http.Request) {
	h := n.health("ok")
	if h.Register != "" || len(h.Refused) > 0 || h.Certificates != "" {
		h.Status = "degraded"
	}
	answer(w, http.StatusOK, h)
}

func (n *Node) health(status string) health {
	h := health{Status: status, Revision: n.dispatch.Revision(), Refused: n.control.Refused(), Lag: n.register.Lag(), Certificates: n.certAlarm()}
	if age, ok := n.register.Heartbeat(); ok {
		ms := float64(age.Milliseconds())
		h.HeartbeatMs = &ms
	}
	if err := n.register.Ready(); err != nil {
		h.Register = err.Error()
	}
	return h
}

func answer(w http.ResponseWriter, status int, h health) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h) // a prober that has gone is no event
}
