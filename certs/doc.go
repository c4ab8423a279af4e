// Package certs keeps a node's TLS certificates: it issues them, renews them and
// picks one in a handshake, through certmagic's machinery without any of its
// package-level state. This version issues from an internal CA whose root lies
// in a folder. It does not know routes: a function tells it which hosts are
// served.
//
// Only the root and its key are on disk. Certificates for hosts and their keys
// live in memory: making one takes about a millisecond, and what is not written
// can neither leak nor fill a disk. A handshake for a name that has a
// certificate does no I/O.
//
// Locks: Manager.mu, internalCA.mu and memory.mu are leaves; none is held while
// something is issued, but for internalCA.mu while an intermediate is.
package certs
