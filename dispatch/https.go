package dispatch

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/telemetry"
)

const fieldHSTS = "Strict-Transport-Security"

// challengePrefix is where ACME's HTTP-01 challenges are (RFC 8555 §8.3). A CA that
// asks for one over plain HTTP has to get it there.
const challengePrefix = "/.well-known/acme-challenge/"

// policy is what a release says about HTTPS, made ready.
type policy struct {
	redirect *bool  // nil: the node decides
	hsts     string // value of Strict-Transport-Security; empty: none
	trust    *trust // nil: clients are not asked for certificates
	onDemand bool
}

func newPolicy(spec *orlav1.Tls) (policy, error) {
	p := policy{hsts: hsts(spec.GetHsts()), onDemand: spec.GetOnDemand()}
	if spec != nil {
		p.redirect = spec.Redirect
	}
	cas, err := release.ClientCAs(spec)
	if err != nil {
		return policy{}, release.Problems{{Field: "tls.client_ca", Message: err.Error()}}
	}
	p.trust = newTrust(cas)
	return p, nil
}

// hsts returns the value of Strict-Transport-Security (RFC 6797 §6.1); preload is
// no part of that standard, but of what the browsers' lists ask for.
func hsts(spec *orlav1.Hsts) string {
	if spec == nil {
		return ""
	}
	value := "max-age=" + strconv.FormatInt(int64(spec.GetMaxAge().AsDuration()/time.Second), 10)
	if spec.GetIncludeSubdomains() {
		value += "; includeSubDomains"
	}
	if spec.GetPreload() {
		value += "; preload"
	}
	return value
}

// before answers a request for a release's host that must not come to its routes:
// one that has to come by HTTPS, or over another connection. It reports whether it
// did.
func (d *Dispatcher) before(w http.ResponseWriter, r *http.Request, name string, rel *Release) bool {
	switch {
	case r.TLS == nil && d.redirects(name, r.URL.EscapedPath(), &rel.https):
		telemetry.RequestFrom(r.Context()).Target = "redirect"
		sendTo(w, r, d.httpsURL(r.Host, r.URL), http.StatusPermanentRedirect)
	case r.TLS != nil && d.misdirected(r.TLS.ServerName, name, rel):
		telemetry.RequestFrom(r.Context()).Err = fmt.Errorf("dispatch: a request for %q over a connection that was made for %q, which is another app's", name, r.TLS.ServerName)
		http.Error(w, "this connection was made for another host; use one of its own", http.StatusMisdirectedRequest)
	default:
		return false
	}
	return true
}

// redirects reports whether a request over plain HTTP has to come by HTTPS.
func (d *Dispatcher) redirects(name, path string, p *policy) bool {
	switch {
	case d.cfg.HTTPSPort == 0 || name == "" || strings.HasPrefix(path, challengePrefix):
		return false
	case p.redirect != nil:
		return *p.redirect
	}
	return d.cfg.RedirectHTTPS != nil && public(name) && d.cfg.RedirectHTTPS(name)
}

// httpsURL returns the request's URL on the HTTPS listener. A client that named no
// port sees the usual ones, whatever they are mapped to.
func (d *Dispatcher) httpsURL(host string, u *url.URL) string {
	to := "https://" + router.CleanHost(host)
	colon := strings.LastIndexByte(host, ':')
	if colon > strings.LastIndexByte(host, ']') && colon < len(host)-1 && d.cfg.HTTPSPort != 443 {
		to += ":" + strconv.Itoa(d.cfg.HTTPSPort)
	}
	to += u.EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		to += "?" + u.RawQuery
	}
	return to
}

// ExplainHTTP returns where a request over plain HTTP for a URL of the host of e is sent
// before any route is looked at; "" if nowhere.
func (d *Dispatcher) ExplainHTTP(e *Explanation, u *url.URL) string {
	if e.Release == nil || !d.redirects(e.Host, u.EscapedPath(), &e.Release.https) {
		return ""
	}
	return d.httpsURL(u.Host, u)
}

// misdirected reports whether a request for name, which rel answers, came over a
// connection that was made for another app (RFC 9110 §15.5.20): a client that
// reuses one certificate's connections, or hides whom it talks to. What that
// connection's handshake settled, such as the client's certificate, does not hold
// here.
func (d *Dispatcher) misdirected(serverName, name string, rel *Release) bool {
	if serverName == name || serverName == "" {
		return false
	}
	sni := router.CleanHost(serverName)
	if sni == name || local(sni) {
		return false
	}
	h, _, ok := d.table.Load().hosts.Lookup(sni)
	return !ok || h.owner() != rel.Name
}

// OnDemand reports whether the certificate of a canonical host is to be ordered at its
// first handshake: a host that is served by its very name, by a release that says so.
func (d *Dispatcher) OnDemand(name string) bool {
	h, ok := d.table.Load().hosts.Get(name)
	switch {
	case !ok || name == "" || name[0] == '*' || name[0] == '.': // a wildcard, as Hosts spells it
		return false
	case h.split != nil:
		return slices.ContainsFunc(h.split.hosts, func(h *host) bool { return h.release.https.onDemand })
	}
	return h.release.https.onDemand
}

// local reports whether a canonical host is this machine by any name of RFC 6761
// §6.3.
func local(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// public reports whether a canonical host is neither local nor an address.
func public(name string) bool {
	return name != "" && !local(name) && !router.IsAddress(name)
}
