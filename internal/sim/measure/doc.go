// Package measure finds out on this machine what internal/sim has to know: what a
// NATS server spends on taking, copying and acknowledging a change, on a leaf
// connection and on a look at the stream, how long a hop, a commit, a save and a
// reconnect take. It also plays a change for real on some hundred leaf nodes, to
// compare. It does not know what is simulated from it.
//
// Hubs and relays are processes of their own ([Serve]), so that their processor
// time and memory are theirs alone; the edges are servers in this process.
// Everything is on loopback, with mutual TLS.
package measure
