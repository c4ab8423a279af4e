package node

import (
	"context"
	"net/http"

	"github.com/orla-edge/orla/certs"
)

// publicHandler answers on the public listeners: CAs' challenges before anything that
// was deployed.
func (n *Node) publicHandler() http.Handler {
	var answer func(ctx context.Context, host, token string) (string, bool)
	if n.certs != nil {
		answer = n.certs.Challenge
	}
	return certs.ServeChallenges(answer, n.dispatch)
}

// redirectsHTTPS returns who decides whether a host's clients are sent on to HTTPS where
// its release says nothing: nobody, where clients don't trust the certificates.
func (n *Node) redirectsHTTPS() func(host string) bool {
	if n.cfg.TLS != TLSACME {
		return nil
	}
	return func(host string) bool { return n.certs.Has(host) }
}
