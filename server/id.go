package server

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

const (
	fieldRequestID = "X-Request-Id"
	maxRequestID   = 128
)

// requestID returns the client's X-Request-Id if it is one value of 1 to 128
// letters, digits, ".", "_" and "-", else a new one. It is a name, not a secret.
func requestID(h http.Header) string {
	if v := h[fieldRequestID]; len(v) == 1 && validRequestID(v[0]) {
		return v[0]
	}
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64())
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
