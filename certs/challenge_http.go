package certs

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
)

// challengePath is where a CA looks for the answer to an HTTP-01 challenge (RFC
// 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// maxToken is the longest token that is looked up, in bytes. CAs use some 43.
const maxToken = 256

// ServeChallenges answers HTTP-01 challenges and hands every other request to next.
// answer returns the key authorization for a token, of a host in lower case and
// without port, as [Manager.Challenge] does; strangers may ask it for anything. Nil
// knows none. Whatever answer does not know is answered 404: nothing below the path of
// challenges ever comes to next, so that no app can prove to a CA that a host is its.
//
// It relies on the request's path being canonical in the sense of router.CleanPath,
// as package server makes it.
func ServeChallenges(answer func(ctx context.Context, host, token string) (keyAuth string, ok bool), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Decoded, since what comes behind may decode it too.
		token, ok := strings.CutPrefix(r.URL.Path, challengePath)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		status, body := http.StatusNotFound, "no such challenge\n"
		if answer != nil && validToken(token) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			if keyAuth, ok := answer(r.Context(), challengedHost(r.Host), token); ok {
				status, body = http.StatusOK, keyAuth
			}
		}
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body) // a client that has gone is no event
		}
	})
}

// validToken reports whether s can be a challenge's token: base64url (RFC 8555
// §8.1).
func validToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// challengedHost returns the host of a Host field as challenges are kept: in lower
// case, without port, brackets and the root's dot.
func challengedHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
