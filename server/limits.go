package server

import (
	"cmp"
	"time"
)

// Limits bounds what clients can make the server hold, and for how long. A zero
// field means its default; every limit is on, for net/http has most of them off.
// Answers have no time limit, so that downloads, event streams and WebSockets
// live: what is limited is standstill.
type Limits struct {
	// Conns is the most connections at a time. The default, 16,384, costs an
	// attacker who fills it about 500 MiB of the node's memory, and stays below
	// the usual limit of open files (systemd: 524,288, containers: 65,536).
	// Connections beyond it are reset at once: waiting would look like an outage
	// just the same, only slower.
	Conns int
	// ConnsPerIP is the most connections at a time from one IPv4 address or one
	// IPv6 /64, loopback included. The default, 1,000, is far above any browser
	// (6 to an origin with HTTP/1.1, 1 with HTTP/2) and above an office or a
	// carrier's gateway that hundreds of people share; it keeps one machine from
	// taking all of Conns. Raise it where a load balancer is the only client.
	ConnsPerIP int

	// Handshake is the longest that a TLS handshake may take. The default is 10
	// s: two round trips on a bad mobile line and a certificate made on demand.
	Handshake time.Duration
	// Header is the longest from the first byte of a request's head to its last.
	// The default is 5 s: a head fits into a few packets.
	Header time.Duration
	// Idle is how long a connection without a request is kept. The default is 60
	// s: longer than the pause between two clicks, shorter than the 350 s and
	// more after which gateways forget a connection silently.
	Idle time.Duration

	// HeaderBytes is the most that a request's head may have. The default is 32
	// KiB: cookies are cut at 4 KiB each, and other servers' limits are at 8 to
	// 64 KiB. HTTP/2 counts 32 bytes more for each field (RFC 9113 §10.5.1).
	HeaderBytes int
	// HeaderFields is the most fields in a request's head; more is answered with
	// 431. The default is 100: browsers send about 20. HTTP/2's compression makes
	// a field of 2 bytes on the wire into hundreds in memory.
	HeaderFields int
	// URLBytes is the longest request target; a longer one is answered with 414.
	// The default is 8 KiB, what RFC 9112 §3 asks for as the least.
	URLBytes int

	// Streams is the most requests at a time on an HTTP/2 connection. The default
	// is 100, RFC 9113's recommended least (§6.5.2): with HeaderBytes, it bounds
	// what one connection can hold to some 4 MiB.
	Streams int

	// BodyRate is the least average rate at which a request's body has to arrive
	// while somebody waits for it, in bytes a second, after BodyGrace. The
	// default is 1 KiB/s: slower than any line that a person uses.
	BodyRate int
	// BodyGrace is how long a body may stand still, and how long one that arrives
	// too slowly is read. The default is 20 s. A handler that reads a stream with
	// pauses sets a deadline of its own, or none, with
	// [http.ResponseController.SetReadDeadline]: that ends this limit for the
	// request.
	BodyGrace time.Duration
	// WriteStall is how long a client may take to accept 64 KiB of an answer
	// before it is cut off. The default is 30 s, hence 2 KiB/s; the buffers of
	// both kernels come on top.
	WriteStall time.Duration
}

// withDefaults returns l with its defaults filled in.
func (l Limits) withDefaults() Limits {
	return Limits{
		Conns:        cmp.Or(l.Conns, 16384),
		ConnsPerIP:   cmp.Or(l.ConnsPerIP, 1000),
		Handshake:    cmp.Or(l.Handshake, 10*time.Second),
		Header:       cmp.Or(l.Header, 5*time.Second),
		Idle:         cmp.Or(l.Idle, 60*time.Second),
		HeaderBytes:  cmp.Or(l.HeaderBytes, 32<<10),
		HeaderFields: cmp.Or(l.HeaderFields, 100),
		URLBytes:     cmp.Or(l.URLBytes, 8<<10),
		Streams:      cmp.Or(l.Streams, 100),
		BodyRate:     cmp.Or(l.BodyRate, 1<<10),
		BodyGrace:    cmp.Or(l.BodyGrace, 20*time.Second),
		WriteStall:   cmp.Or(l.WriteStall, 30*time.Second),
	}
}
