package release

import (
	"fmt"
	"net/textproto"
	"strings"
	"unicode/utf8"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

const (
	maxMethods    = 32
	maxMethod     = 32   // bytes
	maxConditions = 8    // on headers, and on the query, of one route
	maxQueryText  = 1024 // bytes of a parameter's name or value
)

// allRoutes checks each route, then how they go together.
func (v *validator) allRoutes() {
	conditioned, narrowed := 0, 0
	hosts := make(map[string]bool, len(v.manifest.GetHosts()))
	for _, h := range v.manifest.GetHosts() {
		hosts[h] = true
	}
	for i, r := range v.manifest.GetRoutes() {
		field := fmt.Sprintf("routes[%d]", i)
		v.source(field, r.GetSource())
		pattern, ok := v.match(field+".match", r.GetMatch(), hosts)
		if ok {
			v.target(field, r, pattern)
		}
		v.middleware(field+".middleware", r)
		v.unroutable = v.unroutable || !ok
		v.changes(field+".headers", r.GetHeaders())
		v.changes(field+".request_headers", r.GetRequestHeaders())
		if m := r.GetMatch(); len(m.GetHeaders())+len(m.GetQuery()) > 0 || m.GetClientCert() != "" {
			conditioned++
		}
		narrowed += len(r.GetMatch().GetHosts())
	}
	switch {
	case conditioned > maxConditioned:
		v.reject("routes", "%d routes have header or query conditions, or ones on the client's certificate, the most is %d; decide the rest in the app", conditioned, maxConditioned)
	case narrowed > maxNarrowed:
		v.reject("routes", "the routes name hosts %d times, the most is %d; split the hosts over several apps or route sets", narrowed, maxNarrowed)
	case !v.unroutable:
		before := len(v.problems)
		if trees := v.trees(v.manifest, v.routes(v.manifest)); len(v.problems) == before {
			v.loops(trees)
		}
	}
}

// match checks a route's conditions. It reports whether the path, the hosts and
// the methods are such that a tree can be made.
func (v *validator) match(field string, m *orlav1.Match, hosts map[string]bool) (pattern router.Pattern, ok bool) {
	ok = true
	if m.GetPath() != "" {
		var err error
		if pattern, err = router.ParsePattern(m.GetPath()); err != nil {
			v.rejectError(field+".path", err)
			ok = false
		}
		v.reserved(field+".path", pattern)
	}
	ok = v.methods(field+".methods", m.GetMethods()) && ok
	ok = v.matchHosts(field+".hosts", m.GetHosts(), hosts) && ok
	v.headerConditions(field+".headers", m.GetHeaders())
	v.queryConditions(field+".query", m.GetQuery())
	v.clientCert(field+".client_cert", m.GetClientCert())
	return pattern, ok
}

func (v *validator) methods(field string, methods []string) (ok bool) {
	if len(methods) > maxMethods {
		v.reject(field, "there are %d methods, the most is %d; leave methods out to match all", len(methods), maxMethods)
		return false
	}
	ok = true
	for i, m := range methods {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !isToken(m) || len(m) > maxMethod:
			v.reject(at, "%s is not a method; write one such as \"GET\"", quote(m))
		case strings.ToUpper(m) != m:
			v.reject(at, "method %q is not in upper case, and methods are told apart by case; write %q", m, strings.ToUpper(m))
		case m == "CONNECT" || m == "TRACE":
			v.reject(at, "the node refuses every %s request; leave it out", m)
		default:
			continue
		}
		ok = false
	}
	if i, twice := duplicate(methods); twice {
		v.reject(fmt.Sprintf("%s[%d]", field, i), "method %s is there twice; remove one", quote(methods[i]))
		ok = false
	}
	return ok
}

func (v *validator) matchHosts(field string, narrowed []string, hosts map[string]bool) (ok bool) {
	ok = true
	for i, h := range narrowed {
		if !hosts[h] {
			v.reject(fmt.Sprintf("%s[%d]", field, i), "host %s is not among this set's hosts; %s", quote(h), v.didYouMean(h, v.manifest.GetHosts(), "add it there"))
			ok = false
		}
	}
	if i, twice := duplicate(narrowed); twice {
		v.reject(fmt.Sprintf("%s[%d]", field, i), "host %s is there twice; remove one", quote(narrowed[i]))
		ok = false
	}
	return ok
}

func (v *validator) headerConditions(field string, cs []*orlav1.Condition) {
	if len(cs) > maxConditions {
		v.reject(field, "there are %d header conditions, the most is %d; decide the rest in the app", len(cs), maxConditions)
		return
	}
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = textproto.CanonicalMIMEHeaderKey(c.GetName())
		if names[i] == "Host" {
			v.reject(field, "a header condition does not see the host; use match.hosts")
		} else if v.headerName(field, c.GetName()) {
			v.headerValue(field, c.GetName(), c.GetValue())
		}
	}
	if i, ok := duplicate(names); ok {
		v.reject(field, "there are two conditions on %s; a route holds when all of them are met, so write two routes", quote(names[i]))
	}
}

func (v *validator) queryConditions(field string, cs []*orlav1.Condition) {
	if len(cs) > maxConditions {
		v.reject(field, "there are %d query conditions, the most is %d; decide the rest in the app", len(cs), maxConditions)
		return
	}
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = c.GetName()
		switch {
		case c.GetName() == "":
			v.reject(field, "a query condition has no parameter name; write one such as { v = \"2\" }")
		case !utf8.ValidString(c.GetName()) || !utf8.ValidString(c.GetValue()):
			v.reject(field, "the query condition on %s is not UTF-8; save the file in UTF-8", quote(c.GetName()))
		case len(c.GetName()) > maxQueryText || len(c.GetValue()) > maxQueryText:
			v.reject(field, "a query condition has more than %d bytes; shorten it", maxQueryText)
		}
	}
	if i, ok := duplicate(names); ok {
		v.reject(field, "there are two conditions on %s, and the first value of a parameter is the one that counts; remove one", quote(names[i]))
	}
}

// target checks what a route leads to.
func (v *validator) target(field string, r *orlav1.Route, pattern router.Pattern) {
	v.rewrite(field+".rewrite", r.GetRewrite(), pattern)
	switch t := r.GetTarget().(type) {
	case nil:
		if r.GetRewrite() == "" {
			v.reject(field, "the route leads nowhere; give it a function, site, proxy, redirect, respond or rewrite")
		}
	case *orlav1.Route_Function:
		if v.functionsByName[t.Function] == nil {
			v.reject(field+".function", "there is no function %s; %s", quote(t.Function), v.didYouMean(t.Function, v.functionNames, "add one to the app"))
		}
	case *orlav1.Route_Site:
		switch {
		case !t.Site:
			v.reject(field+".site", "site is false, so that the route leads nowhere; set it to true or give the route another target")
		case v.manifest.GetSite() == nil:
			v.reject(field+".site", "the release has no site; add [site] with the folder of its files")
		}
	case *orlav1.Route_Proxy:
		v.proxy(field+".proxy", t.Proxy)
	case *orlav1.Route_Redirect:
		v.redirect(field+".redirect", t.Redirect, pattern)
	case *orlav1.Route_Respond:
		v.respond(field+".respond", t.Respond)
	default:
		v.reject(field, "the route's target is not known to this version of the node; update the node")
	}
}
