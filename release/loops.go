package release

import (
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// maxRewrites is how often a request may be rewritten and matched again before a
// node gives up.
const maxRewrites = 8

// sample stands for what a parameter or star captures.
const sample = "any"

// loops refuses rewrites that never come to a target. Each route that rewrites
// and has no target is tried with one request that meets its conditions; what is
// reported is certain, but not every loop is found.
func (v *validator) loops(trees *Routes) {
	for i, r := range v.manifest.GetRoutes() {
		if decides(r) {
			continue
		}
		host := v.manifest.GetHosts()[0]
		if hosts := r.GetMatch().GetHosts(); len(hosts) > 0 {
			host = hosts[0]
		}
		tree, index := trees.Tree(host)
		if seen := v.follow(tree, index, i); len(seen) > maxRewrites {
			v.reject(fmt.Sprintf("routes[%d].rewrite", i), "a request for %s is rewritten over and over (%s …) and never comes to a target; rewrite to a path that a route with a target matches, or give the route one",
				quote(seen[0]), strings.Join(shorten(seen[1:4]), ", "))
		}
	}
}

// decides reports whether a route answers, or may answer: its middleware may.
func decides(r *orlav1.Route) bool { return r.GetTarget() != nil || len(r.GetMiddleware()) > 0 }

func shorten(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = quote(p)
	}
	return out
}

// follow returns the paths that a request for the route goes through until it
// comes to a target or nowhere, at most one more than a node would follow.
func (v *validator) follow(tree *router.Tree, index []int, route int) []string {
	r := v.manifest.GetRoutes()[route]
	request := sampleRequest(r)
	var seen []string
	for len(seen) <= maxRewrites {
		m := tree.Match(request)
		if m.Index < 0 || seen == nil && index[m.Index] != route {
			return nil
		}
		r = v.manifest.GetRoutes()[index[m.Index]]
		if decides(r) {
			return nil
		}
		seen = append(seen, request.Path)
		pattern, err := router.ParsePattern(r.GetMatch().GetPath())
		if err != nil {
			pattern = router.Pattern{} // the path is empty: everything
		}
		template, err := router.ParseTemplate(r.GetRewrite(), pattern.Names())
		if err != nil {
			return nil
		}
		path, query, _ := strings.Cut(template.Expand(&m), "?")
		if request.Path, err = router.CleanPath(path); err != nil {
			return nil
		}
		request.RawQuery = strings.Trim(query+"&"+request.RawQuery, "&")
		applyChanges(request.Header, r.GetRequestHeaders())
	}
	return seen
}

// sampleRequest returns a request that meets a route's conditions.
func sampleRequest(r *orlav1.Route) *router.Request {
	match := r.GetMatch()
	segments := strings.Split(match.GetPath(), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") || s == "*" {
			segments[i] = sample
		}
	}
	path, err := router.CleanPath(strings.Join(segments, "/"))
	if err != nil {
		path = "/" + sample // the path is empty: everything
	}
	request := &router.Request{Method: "GET", Path: path, Header: map[string][]string{}}
	if methods := match.GetMethods(); len(methods) > 0 {
		request.Method = methods[0]
	}
	for _, c := range match.GetHeaders() {
		request.Header[textproto.CanonicalMIMEHeaderKey(c.GetName())] = []string{c.GetValue()}
	}
	switch c := match.GetClientCert(); c {
	case "", router.NoClientCert:
	default:
		request.ClientCert = &router.ClientCert{Names: []string{c}}
	}
	query := url.Values{}
	for _, c := range match.GetQuery() {
		query.Set(c.GetName(), c.GetValue())
	}
	request.RawQuery = query.Encode()
	return request
}

// applyChanges does to a request's header what a node does before it matches
// again.
func applyChanges(header map[string][]string, c *orlav1.HeaderChanges) {
	for _, name := range c.GetRemove() {
		delete(header, textproto.CanonicalMIMEHeaderKey(name))
	}
	for _, f := range c.GetSet() {
		header[textproto.CanonicalMIMEHeaderKey(f.GetName())] = []string{f.GetValue()}
	}
	for _, f := range c.GetAdd() {
		name := textproto.CanonicalMIMEHeaderKey(f.GetName())
		header[name] = append(slices.Clip(header[name]), f.GetValue())
	}
}
