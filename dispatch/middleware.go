package dispatch

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/telemetry"
)

// passage is a request on its way through a route's middleware.
type passage struct {
	host     *host
	match    router.Match
	rewrites int
}

type passageKey struct{}

// front puts a route's middleware before what the route leads to, outermost first;
// nil if it has none. It runs after the route's rewrite and its changes to the
// request's headers, so that it sees what the target would see; its own changes of the
// request are not undone by them.
func (b *builder) front(rt *route, pattern router.Pattern) http.Handler {
	names := rt.spec.GetMiddleware()
	if len(names) == 0 {
		return nil
	}
	next := http.Handler(http.HandlerFunc(rt.behind))
	for _, name := range slices.Backward(names) {
		next = b.programs[name].Middleware(next, rt.pattern, pattern.LiteralPrefix())
	}
	return next
}

// middleware checks that every route's middleware is there and can be one.
func (b *builder) middleware() release.Problems {
	var problems release.Problems
	for i, r := range b.spec.Manifest.GetRoutes() {
		for j, name := range r.GetMiddleware() {
			field := fmt.Sprintf("routes[%d].middleware[%d]", i, j)
			p := b.programs[name]
			switch {
			case p == nil:
				problems = append(problems, release.Problem{Field: field, Message: fmt.Sprintf("function %q is not in this release", name)})
			case p.ABI() == orlav1.Abi_ABI_CGI:
				problems = append(problems, release.Problem{Field: field, Message: release.MiddlewareABI(name)})
			}
		}
	}
	return problems
}

// through sends a request that rt has matched through the route's middleware.
func (h *host) through(w http.ResponseWriter, r *http.Request, rt *route, p passage) {
	p.host = h
	rt.front.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passageKey{}, &p)))
}

// behind takes a request on where the middleware has handed it on. Middleware may have
// given it another path, which has to be as clean as one at ingress.
func (rt *route) behind(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		panic("dispatch: middleware has lost the request's context")
	}
	path := r.URL.EscapedPath()
	clean, err := router.CleanPath(path)
	if err == nil && clean != path {
		r, err = rewrite(r, clean)
	}
	if err != nil {
		telemetry.RequestFrom(r.Context()).Err = fmt.Errorf("dispatch: middleware of %s makes a path that no request can have: %w", rt.pattern, err)
		http.Error(w, "the function in front made an invalid path", http.StatusBadGateway)
		return
	}
	p.host.proceed(w, r, rt, p.match, p.rewrites)
}
