package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// ListRoutes implements the API.
func (s *Service) ListRoutes(_ context.Context, req *connect.Request[orlav1.ListRoutesRequest]) (*connect.Response[orlav1.ListRoutesResponse], error) {
	live := s.cfg.Dispatcher.Live()
	if name := req.Msg.GetName(); name != "" {
		r := s.cfg.Dispatcher.Get(name)
		if r == nil {
			return nil, s.noSuch(name, orlav1.Kind_KIND_UNSPECIFIED)
		}
		live = []*dispatch.Release{r}
	}
	res := &orlav1.ListRoutesResponse{}
	for _, r := range live {
		for _, host := range r.Manifest.GetHosts() {
			for _, route := range r.Routes(host) {
				res.Routes = append(res.Routes, &orlav1.RouteLine{Name: r.Name, Release: r.Number, Host: host, Route: route})
			}
		}
	}
	slices.SortStableFunc(res.Routes, func(a, b *orlav1.RouteLine) int { return cmp.Compare(a.GetHost(), b.GetHost()) })
	return connect.NewResponse(res), nil
}

// ExplainRoute implements the API.
func (s *Service) ExplainRoute(_ context.Context, req *connect.Request[orlav1.ExplainRouteRequest]) (*connect.Response[orlav1.ExplainRouteResponse], error) {
	u, err := url.Parse(req.Msg.GetUrl())
	if err == nil && u.Host == "" {
		err = errors.New(`it has no host; write it as "https://shop.example/path"`)
	}
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("url %q: %w", req.Msg.GetUrl(), err))
	}
	path, err := router.CleanPath(cmp.Or(u.EscapedPath(), "/"))
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("a node answers this path with 400: %w", err))
	}
	header := http.Header{}
	for _, f := range req.Msg.GetHeaders() {
		header.Add(f.GetName(), f.GetValue())
	}
	e := s.cfg.Dispatcher.Explain(u.Host, &router.Request{
		Method: cmp.Or(req.Msg.GetMethod(), http.MethodGet), Path: path, RawQuery: u.RawQuery, Header: header,
		ClientCert: clientCert(req.Msg.GetClientCert()),
	})
	res := explanation(&e, path)
	if u.Scheme == "http" {
		if u.Path, err = url.PathUnescape(path); err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		u.RawPath = path
		res.Https = s.cfg.Dispatcher.ExplainHTTP(&e, u)
	}
	return connect.NewResponse(res), nil
}

// clientCert returns the certificate that an explained request has.
func clientCert(name string) *router.ClientCert {
	switch name {
	case "":
		return nil
	case router.AnyClientCert:
		return &router.ClientCert{}
	}
	return &router.ClientCert{Names: []string{name}}
}

func explanation(e *dispatch.Explanation, path string) *orlav1.ExplainRouteResponse {
	res := &orlav1.ExplainRouteResponse{
		Host: e.Host, HostPattern: e.Pattern, Path: path, Status: uint32(e.Status), Route: e.Route,
	}
	if e.Release != nil {
		res.Name, res.Release = e.Release.Name, e.Release.Number
	}
	if e.Route != nil {
		for name, value := range e.Match.Captures() {
			res.Captures = append(res.Captures, &orlav1.Field{Name: name, Value: value})
		}
	}
	for _, step := range e.Steps {
		res.Steps = append(res.Steps, &orlav1.Step{Route: step.Route, Matched: step.Matched, Reason: step.Reason})
	}
	return res
}
