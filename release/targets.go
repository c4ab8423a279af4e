package release

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

const (
	maxUpstreams   = 64
	maxUpstreamURL = 2048     // bytes
	maxRespondBody = 64 << 10 // bytes
)

func (v *validator) rewrite(field, to string, pattern router.Pattern) {
	if to == "" {
		return
	}
	t, err := router.ParseTemplate(to, pattern.Names())
	switch {
	case err != nil:
		v.rejectError(field, err)
	case !strings.HasPrefix(to, "/"):
		v.reject(field, "%s is not a path: a rewrite stays on this host; begin it with a slash, or use a redirect or proxy", quote(to))
	case strings.Contains(to, "#"):
		v.reject(field, "%s has a fragment, which only browsers see; write %%23 for the sign itself", quote(to))
	default:
		path, _, _ := strings.Cut(t.Expand(new(router.Match)), "?")
		if _, err := router.CleanPath(path); err != nil {
			v.rejectError(field, fmt.Errorf("%s leads to no path that a request can have: %w", quote(to), err))
		}
	}
}

func (v *validator) proxy(field string, p *orlav1.Proxy) {
	if n := len(p.GetTo()); n == 0 || n > maxUpstreams {
		v.reject(field+".to", "there are %d upstreams; name 1 to %d, such as \"http://10.0.0.5:8080\"", n, maxUpstreams)
		return
	}
	for i, to := range p.GetTo() {
		if advice := upstreamAdvice(to); advice != "" {
			v.reject(fmt.Sprintf("%s.to[%d]", field, i), "%s %s", quote(to), advice)
		}
	}
	if i, ok := duplicate(p.GetTo()); ok {
		v.reject(fmt.Sprintf("%s.to[%d]", field, i), "upstream %s is there twice; remove one", quote(p.GetTo()[i]))
	}
	if h := p.GetHealth(); h != "" {
		if _, err := router.CleanPath(h); err != nil || strings.ContainsAny(h, "?#") {
			v.reject(field+".health", "%s is not a path; write one such as \"/healthz\"", quote(h))
		}
	}
	v.timeout(field+".timeout", p.GetTimeout())
}

// upstreamAdvice returns what is wrong with the URL of an upstream; "" if
// nothing is.
func upstreamAdvice(to string) string {
	u, err := url.Parse(to)
	switch {
	case len(to) > maxUpstreamURL:
		return "is too long; shorten it"
	case err != nil || u.Opaque != "" || !printable(to):
		return "is not a URL; write one such as \"http://10.0.0.5:8080\""
	case u.Scheme == "":
		return "has no scheme; write \"http://\" or \"https://\" before it"
	case u.Scheme != "http" && u.Scheme != "https":
		return "has a scheme that this version does not pass through to: it knows http and https only; put an HTTP server before the app server"
	case u.User != nil:
		return "has a user name or password, which every reader of the routes would see; set an Authorization field by request_headers"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(to, "#"):
		return "has a query or fragment; write the base URL alone"
	case router.CleanHost(u.Host) == "":
		return "has no valid host; write one such as \"http://10.0.0.5:8080\""
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || n == 0 {
			return "has no valid port; write 1 to 65535, or leave the colon out"
		}
	}
	if u.Path != "" {
		if _, err := router.CleanPath(u.EscapedPath()); err != nil {
			return "has a path that no request can have; write a clean one"
		}
	}
	return ""
}

func (v *validator) redirect(field string, r *orlav1.Redirect, pattern router.Pattern) {
	if _, err := router.ParseTemplate(r.GetTo(), pattern.Names()); err != nil {
		v.rejectError(field+".to", err)
	}
	if !slices.Contains([]uint32{301, 302, 303, 307, 308}, r.GetStatus()) {
		v.reject(field+".status", "%d is not the status of a redirect; use 301, 302, 303, 307 or 308", r.GetStatus())
	}
}

func (v *validator) respond(field string, r *orlav1.Respond) {
	switch s := r.GetStatus(); {
	case s < 200 || s > 599:
		v.reject(field+".status", "%d is not the status of an answer; use 200 to 599", s)
	case (s == 204 || s == 205 || s == 304) && r.GetBody() != "":
		v.reject(field+".body", "an answer with status %d has no body; leave the body out or choose another status", s)
	}
	if !utf8.ValidString(r.GetBody()) {
		v.reject(field+".body", "the body is not UTF-8; serve it as a file of a site")
	}
	if n := len(r.GetBody()); n > maxRespondBody {
		v.reject(field+".body", "the body has %d bytes, the most is %d; serve it as a file of a site", n, maxRespondBody)
	}
	if r.GetMediaType() != "" {
		v.mediaType(field+".type", r.GetMediaType())
	}
}
