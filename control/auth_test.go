package control

import (
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
)

// A node that starts knows its own token only; what else it is shown may be good.
func TestTokensOfANodeThatStarts(t *testing.T) {
	a := authoriser{newCatalog(adminSecret)}
	code := func(token string) connect.Code {
		_, err := a.identify(http.Header{"Authorization": {"Bearer " + token}})
		if err == nil {
			return 0
		}
		return connect.CodeOf(err)
	}
	check := func(when string, unknown connect.Code) {
		t.Helper()
		if got := code("orla_other"); got != unknown {
			t.Errorf("%s: a token that is not known is answered %v, want %v", when, got, unknown)
		}
		if got := code(adminSecret); got != 0 {
			t.Errorf("%s: the node's own token is answered %v", when, got)
		}
	}
	check("before it has its state", connect.CodeUnavailable)
	if _, _, err := a.catalog.apply(cluster.Update{Full: true}); err != nil {
		t.Fatal(err)
	}
	check("with its state", connect.CodeUnauthenticated)
}
