package certs

import (
	"context"
	"errors"
	"time"
)

// Prefix is what the keys of all register entries begin with that this package reads
// and writes. The messages are those of certs.proto.
const Prefix = "tls."

// Keys, or what they begin with.
const (
	certPrefix      = Prefix + "cert."
	orderPrefix     = Prefix + "order."
	challengePrefix = Prefix + "challenge."
	accountPrefix   = Prefix + "account."
	leadKey         = Prefix + "lead"
	ticketsKey      = Prefix + "tickets"
	rootKey         = Prefix + "root"
)

// ErrChanged means that a key of the register was not at the expected revision, or that
// a lease was not the caller's any more.
var ErrChanged = errors.New("certs: changed meanwhile")

// Register is what a Manager needs of the register that the nodes share. Its methods may
// be called concurrently.
type Register interface {
	// Commit puts a value under a key, nil deletes it, if the key's revision is still
	// expect; 0: there must be no such key. It returns once [Manager.Apply] has had the
	// change at this node, or [ErrChanged].
	Commit(ctx context.Context, key string, value []byte, expect uint64) error
	// Sync returns once [Manager.Apply] has had all that was committed before the call.
	Sync(ctx context.Context) error
	// TakeLease takes a lease that nobody has, for so long: the register ends it by
	// itself. It returns a revision to renew it with, or [ErrChanged].
	TakeLease(ctx context.Context, name, owner string, life time.Duration) (revision uint64, err error)
	// RenewLease makes it last for so long from now, or returns [ErrChanged].
	RenewLease(ctx context.Context, name, owner string, life time.Duration, revision uint64) (uint64, error)
	// DropLease ends it, or returns [ErrChanged].
	DropLease(ctx context.Context, name string, revision uint64) error
}

// Entry is a key of the register.
type Entry struct {
	Key      string
	Value    []byte // nil: deleted
	Revision uint64
}

// Sealer encrypts what is private, for one place: under another it cannot be opened.
type Sealer interface {
	Seal(value []byte, place string) ([]byte, error)
	Open(sealed []byte, place string) ([]byte, error)
}
