// Package certs keeps the TLS certificates of a node and of its cluster, and picks one in
// a handshake, through certmagic's machinery without any of its package-level state. It
// does not know routes, NATS, or which nodes there are: functions tell it which hosts are
// served, and a [Register] is what the nodes share.
//
// There are two kinds. Shared certificates, ordered from ACME servers or imported, are
// entries of the register, their keys sealed: [Manager.Apply] fills the book, which is all
// that handshakes, challenges and lists read, and which parses a certificate when the
// first handshake asks for it. One node at a time orders for all, while it has a lease
// (lead.go, orders.go); a challenge is an entry, too, so that whichever node the CA asks
// can answer (challenge.go). Local certificates are issued by the internal CA, whose root
// lies in a folder and in an entry, so that all nodes have the same (root.go). They live in
// this node's memory only: making one takes about a millisecond, and what is not written
// can neither leak nor fill a disk (local.go).
//
// A handshake for a name that has a certificate does no I/O. One for a name that is not
// served orders nothing and reads nothing but the table of hosts.
//
// The keys of session tickets are an entry, too: the node with the lease makes a new one
// now and then, and a client resumes its session at whichever node it comes to (tickets.go).
//
// Locks: Manager.turning comes before book.mu, orders.mu before budget.mu. The others,
// local.mu, internalCA.mu, shelf.mu, memory.mu and wishes.mu, are leaves; none is held
// while something is issued, but for internalCA.mu while an intermediate is, and
// acmeIssuer.mu while an account is made.
package certs
