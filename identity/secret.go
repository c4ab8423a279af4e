package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Role is what a node may do in its cluster.
type Role string

// Roles.
const (
	Hub  Role = "hub"  // keeps the register, may change it
	Edge Role = "edge" // reads
)

// size of the keys in bytes.
const size = 32

// Secret is a cluster's secret, as a hub or as an edge has it. The zero value is
// none. Its methods may be called concurrently.
type Secret struct {
	root  []byte // of a hub; nil for an edge
	edge  []byte
	hubCA ed25519.PublicKey
}

// ErrSecret means that a text is not a cluster's secret.
var ErrSecret = errors.New("not a cluster secret: `orla cluster secret` makes one")

const (
	hubPrefix  = "orla-hub-"
	edgePrefix = "orla-edge-"
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// New returns a fresh secret for hubs: 256 random bits.
func New() Secret {
	root := make([]byte, size)
	_, _ = rand.Read(root) // never fails (crypto/rand)
	return fromRoot(root)
}

func fromRoot(root []byte) Secret {
	s := Secret{root: root}
	s.edge = derive(root, "edge")
	s.hubCA = s.authority(Hub).Public().(ed25519.PublicKey) //nolint:forcetypeassert // of an ed25519 key
	return s
}

// Parse reads the text of a secret, as [Secret.String] or [Secret.Edge] print it. It
// returns [ErrSecret].
func Parse(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if digits, ok := strings.CutPrefix(text, hubPrefix); ok {
		root, err := encoding.DecodeString(digits)
		if err != nil || len(root) != size {
			return Secret{}, ErrSecret
		}
		return fromRoot(root), nil
	}
	if digits, ok := strings.CutPrefix(text, edgePrefix); ok {
		b, err := encoding.DecodeString(digits)
		if err != nil || len(b) != 2*size {
			return Secret{}, ErrSecret
		}
		return Secret{edge: b[:size:size], hubCA: b[size:]}, nil
	}
	return Secret{}, ErrSecret
}

// maxFile bounds a secret file in bytes.
const maxFile = 4 << 10

// ReadFile reads a secret from a file. It refuses a file that others may read.
func ReadFile(path string) (Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Secret{}, fmt.Errorf("read cluster secret: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return Secret{}, fmt.Errorf("read cluster secret: others may read %s (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	if info.Size() > maxFile {
		return Secret{}, fmt.Errorf("read cluster secret %s: %w", path, ErrSecret)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator's choice
	if err != nil {
		return Secret{}, fmt.Errorf("read cluster secret: %w", err)
	}
	s, err := Parse(string(b))
	if err != nil {
		return Secret{}, fmt.Errorf("read cluster secret %s: %w", path, err)
	}
	return s, nil
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.edge == nil }

// Role is what the secret lets a node be at most.
func (s Secret) Role() Role {
	if s.root == nil {
		return Edge
	}
	return Hub
}

// Reveal returns the text to be kept in a file. It is not String, so that a secret
// which comes into a log by accident does not tell itself.
func (s Secret) Reveal() string {
	if s.root == nil {
		return edgePrefix + encoding.EncodeToString(append(bytes.Clone(s.edge), s.hubCA...))
	}
	return hubPrefix + encoding.EncodeToString(s.root)
}

// String hides the secret.
func (s Secret) String() string { return "cluster secret (" + string(s.Role()) + ")" }

// GoString hides the secret from %#v too.
func (s Secret) GoString() string { return s.String() }

// Edge returns what an edge needs to know of the secret.
func (s Secret) Edge() Secret { return Secret{edge: s.edge, hubCA: s.hubCA} }

// Seed returns 32 bytes for a purpose, the same on every node that may have them:
// those of the role [Hub] on hubs only, where an edge gets nil.
func (s Secret) Seed(of Role, purpose string) []byte {
	if of == Hub {
		if s.root == nil {
			return nil
		}
		return derive(s.root, "seed "+purpose)
	}
	return derive(s.edge, "seed "+purpose)
}

// derive returns the key for a purpose (HKDF-SHA256, RFC 5869).
func derive(key []byte, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, "orla cluster v1 "+purpose, size)
	if err != nil {
		panic(err) // only for lengths that these are not
	}
	return out
}
