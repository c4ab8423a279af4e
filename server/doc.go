// Package server is a node's listeners: it accepts connections within limits,
// finishes TLS handshakes, and for each request checks the protocol, normalises
// the path once, makes the request's [telemetry.Request], recovers from panics,
// writes the access log, spans and metrics, and, when its context ends, drains
// without losing a request that it had accepted. It knows no routes: what
// answers is one [http.Handler].
//
// Locks: [Server] conns.mu guards the set of connections and is held for map
// operations only; headScan.mu is a leaf.
package server
