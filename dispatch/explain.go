package dispatch

import (
	"net/http"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// Explanation tells which route a request takes and why not the others.
type Explanation struct {
	Host    string // canonical; empty if what the request said is no host
	Pattern string // the host pattern that owns it; empty if none does
	Release *Release
	Match   router.Match
	Route   *orlav1.Route // nil if none matched
	Status  int           // what the node would answer by itself; 0 if a target decides
	Steps   []Step
}

// Step is one candidate, in match order.
type Step struct {
	Route   *orlav1.Route
	Matched bool
	Reason  string // why not
}

// Explain runs the match that a request for hostname would get. path and the
// rest of req are as at ingress: clean. Where releases share the host, the cookie
// in req chooses, or without one the largest share.
func (d *Dispatcher) Explain(hostname string, req *router.Request) Explanation {
	e := Explanation{Host: router.CleanHost(hostname), Status: http.StatusNotFound}
	h, pattern, ok := d.table.Load().hosts.Lookup(e.Host)
	if !ok {
		return e
	}
	if h.split != nil {
		if number, known := lotOf(req.Header[fieldCookie]); known {
			h = h.split.choose(number)
		} else {
			h = h.split.hosts[h.split.main]
		}
	}
	e.Pattern, e.Release = pattern, h.release
	for _, s := range h.tree.Explain(req) {
		e.Steps = append(e.Steps, Step{Route: h.routes[s.Index].spec, Matched: s.Matched, Reason: s.Reason})
	}
	e.Match = h.tree.Match(req)
	if e.Match.Index < 0 {
		if e.Match.Allow() != "" {
			e.Status = http.StatusMethodNotAllowed
		}
		return e
	}
	e.Route = h.routes[e.Match.Index].spec
	e.Status = ownStatus(e.Route)
	return e
}

// ownStatus is the status with which the node answers a route by itself; 0 if the
// target or what stands in front of it decides.
func ownStatus(r *orlav1.Route) int {
	if len(r.GetMiddleware()) > 0 {
		return 0
	}
	switch target := r.GetTarget().(type) {
	case *orlav1.Route_Redirect:
		return int(target.Redirect.GetStatus())
	case *orlav1.Route_Respond:
		return int(target.Respond.GetStatus())
	}
	return 0
}

// Routes returns the release's routes under one of its host patterns, in match
// order as far as one can be told without a request.
func (r *Release) Routes(pattern string) []*orlav1.Route {
	h := r.hosts[pattern]
	if h == nil {
		return nil
	}
	out := make([]*orlav1.Route, 0, len(h.routes))
	for _, s := range h.tree.Explain(&router.Request{Method: http.MethodGet, Path: "/"}) {
		out = append(out, h.routes[s.Index].spec)
	}
	return out
}
