// Package seal encrypts small values so that who stores them cannot read them, swap
// them or change them. It knows neither what the values are nor where they are kept.
//
// A sealed value is AES-256-GCM under a key of its own, derived by HKDF-SHA-256 (RFC
// 5869) from the master key and a random salt: any number of values may be sealed with
// one key.
//
//	version  1 byte, 1
//	key id   8 bytes, tells which master key it takes
//	salt     32 bytes
//	sealed   nonce (12), ciphertext, tag (16)
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
)

const (
	// KeySize is the size of a master key in bytes.
	KeySize = 32

	version  = 1
	idSize   = 8
	saltSize = 32
	header   = 1 + idSize + saltSize
	// Overhead is how many bytes longer a sealed value is.
	Overhead = header + 12 + 16
)

var (
	// ErrKey means that a value was sealed with another key.
	ErrKey = errors.New("seal: sealed with another key")
	// ErrSealed means that a value is damaged, or was sealed for another place.
	ErrSealed = errors.New("seal: damaged, or moved from where it belongs")
)

// Key is a master key. It prints as a word, never as its bytes. It is immutable.
type Key struct {
	master []byte
	id     [idSize]byte
}

// New returns the key made of 32 secret bytes.
func New(master []byte) (*Key, error) {
	if len(master) != KeySize {
		return nil, fmt.Errorf("seal: a key of %d bytes, want %d", len(master), KeySize)
	}
	k := &Key{master: append([]byte(nil), master...)}
	id, err := hkdf.Key(sha256.New, k.master, nil, "orla seal key id", idSize)
	if err != nil {
		return nil, fmt.Errorf("seal: derive key id: %w", err)
	}
	copy(k.id[:], id)
	return k, nil
}

// String implements [fmt.Stringer].
func (*Key) String() string { return "sealing key" }

// GoString implements [fmt.GoStringer].
func (k *Key) GoString() string { return k.String() }

// Format implements [fmt.Formatter], for the verbs that look inside.
func (k *Key) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprint(f, k.String()) // who prints sees whether it failed
}

// LogValue implements [slog.LogValuer].
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Seal encrypts a value for one place, which is not part of the result: only who names
// the same place can open it.
func (k *Key) Seal(value []byte, place string) ([]byte, error) {
	out := make([]byte, header, len(value)+Overhead)
	out[0] = version
	copy(out[1:], k.id[:])
	if _, err := rand.Read(out[1+idSize:]); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := k.aead(out[1+idSize:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, value, bound(out, place)), nil
}

// Open returns the value that was sealed for the place. It returns [ErrKey] or
// [ErrSealed].
func (k *Key) Open(sealed []byte, place string) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != version {
		return nil, ErrSealed
	}
	if [idSize]byte(sealed[1:]) != k.id {
		return nil, ErrKey
	}
	aead, err := k.aead(sealed[1+idSize : header])
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, nil, sealed[header:], bound(sealed, place))
	if err != nil {
		return nil, ErrSealed
	}
	return value, nil
}

// aead returns the cipher of one value.
func (k *Key) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.master, salt, "orla seal value", KeySize)
	if err != nil {
		return nil, fmt.Errorf("seal: derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// bound is what a value is bound to beside its key: its header and its place.
func bound(sealed []byte, place string) []byte {
	return append(append([]byte(nil), sealed[:header]...), place...)
}
