// Package identity turns a cluster's secret into what its nodes show each other:
// certificates for mutual TLS, seeds for keys, shared keys. It knows neither NATS
// nor HTTP.
//
// Everything is derived, nothing is stored: two nodes that have the same secret
// agree on the certificate authorities without a word. There are two kinds of
// secret. A hub's is the root of all. An edge's is derived from it, one way: with it
// a machine can join and read, recognise hubs, and nothing else. Who takes an edge
// over can neither pass for a hub nor change what the cluster serves.
package identity
