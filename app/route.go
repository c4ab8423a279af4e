package app

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/orla-edge/orla/app/document"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// route converts one [[routes]].
func (c *converter) route(t *routeTable, field string) *orlav1.Route {
	r := &orlav1.Route{
		Match:          c.match(t.Match, field+".match"),
		Rewrite:        t.Rewrite,
		Headers:        headerChanges(t.Headers),
		RequestHeaders: headerChanges(t.RequestHeaders),
		Middleware:     t.Middleware,
		Source:         c.written(field),
	}
	if c.doc.Has(field+".middleware") && len(t.Middleware) == 0 {
		c.reject(field+".middleware", `the list is empty; name functions of this app, outermost first, such as ["auth"], or remove the line`)
	}
	var targets []string
	for _, target := range []string{"function", "site", "proxy", "redirect", "respond"} {
		if c.doc.Has(field + "." + target) {
			targets = append(targets, target)
		}
	}
	switch {
	case len(targets) > 1:
		c.reject(field+"."+targets[1], "a route has one target, but this one has %s; keep one", strings.Join(targets, " and "))
	case len(targets) == 0 && !c.doc.Has(field+".rewrite"):
		c.reject(field, "the route has no target; add function, site, proxy, redirect, respond or rewrite")
	case len(targets) == 1:
		c.target(r, t, field)
	}
	return r
}

func (c *converter) target(r *orlav1.Route, t *routeTable, field string) {
	switch {
	case t.Proxy != nil:
		r.Target = &orlav1.Route_Proxy{Proxy: c.proxy(t.Proxy, field+".proxy")}
	case t.Redirect != nil:
		r.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{
			To: t.Redirect.To, Status: cmp.Or(t.Redirect.Status, http.StatusPermanentRedirect),
		}}
	case t.Respond != nil:
		r.Target = &orlav1.Route_Respond{Respond: &orlav1.Respond{
			Status: cmp.Or(t.Respond.Status, http.StatusOK), Body: t.Respond.Body, MediaType: t.Respond.Type,
		}}
	case t.Site:
		r.Target = &orlav1.Route_Site{Site: true}
	case c.doc.Has(field + ".site"):
		c.reject(field+".site", "site = false does nothing; remove the line and name another target")
	default:
		r.Target = &orlav1.Route_Function{Function: t.Function}
	}
}

func (c *converter) match(t *matchTable, field string) *orlav1.Match {
	if t == nil {
		return &orlav1.Match{}
	}
	if t.ClientCert == "" && c.doc.Has(field+".client_cert") {
		c.reject(field+".client_cert", `client_cert is empty; write "*" for any certificate, "none" for none, or a name; or remove the line`)
	}
	return &orlav1.Match{
		Path:    t.Path,
		Methods: t.Methods,
		Headers: conditions(t.Headers),
		Query:   conditions(t.Query),
		Hosts:   t.Hosts,

		ClientCert: t.ClientCert,
	}
}

func conditions(pairs document.Pairs) []*orlav1.Condition {
	var all []*orlav1.Condition
	for _, p := range pairs {
		all = append(all, &orlav1.Condition{Name: p.Name, Value: p.Value})
	}
	return all
}

func headerChanges(t *headersTable) *orlav1.HeaderChanges {
	if t == nil {
		return nil
	}
	return &orlav1.HeaderChanges{Set: fields(t.Set), Add: fields(t.Add), Remove: t.Remove}
}

func fields(pairs []document.Pair) []*orlav1.Field {
	var all []*orlav1.Field
	for _, p := range pairs {
		all = append(all, &orlav1.Field{Name: p.Name, Value: p.Value})
	}
	return all
}

// proxy converts a proxy target and refuses the kinds of upstream that this
// version lacks.
func (c *converter) proxy(t *proxyTable, field string) *orlav1.Proxy {
	for i, to := range t.To {
		for _, scheme := range []string{"fastcgi", "uwsgi"} {
			if strings.HasPrefix(strings.ToLower(to), scheme+"://") {
				c.reject(fmt.Sprintf("%s.to[%d]", field, i), "%q: %s upstreams are not supported by this version of Orla; use an http:// upstream", to, scheme)
			}
		}
	}
	return &orlav1.Proxy{To: t.To, Health: t.Health, Timeout: duration(t.Timeout)}
}
