package node

import (
	"io"
	"net/http"
	"strings"

	"github.com/orla-edge/orla/router"
)

// challengePath is where CAs look for the answers to HTTP-01 challenges (RFC 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// reserved answers requests for challenges, on every node, so that no route ever does:
// who answers them gets certificates for the host. All others go to next.
func (n *Node) reserved(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.URL.Path, challengePath)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		answer := ""
		if n.certs != nil && validToken(token) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			answer, ok = n.certs.Challenge(r.Context(), router.CleanHost(r.Host), token)
		}
		if !ok || answer == "" {
			http.Error(w, "no certificate is ordered that this would prove", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, answer) // the client is gone
	})
}

// validToken reports whether a token is one as CAs make them: base64url, and short.
func validToken(token string) bool {
	return token != "" && len(token) <= 256 && strings.IndexFunc(token, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) < 0
}
