package cgi

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/runtime/host"
)

// Mount is where in the URL space a program stands.
type Mount struct {
	// Pattern of the route that matched: "/api/*".
	Pattern string
	// ScriptName is the literal part of the path that belongs to the program: "/api",
	// or "" at the root.
	ScriptName string
}

// Var is one environment variable.
type Var struct{ Name, Value string }

// Env returns the meta-variables of r (RFC 3875, 4.1) for a program mounted at m.
//
//   - PATH_TRANSLATED is not set: there is no document tree. AUTH_TYPE and REMOTE_USER
//     are not set: the node does not authenticate clients. REMOTE_HOST is the address:
//     nothing is looked up.
//   - Authorization is passed on as HTTP_AUTHORIZATION, because the program is the
//     one who checks it.
//   - CONTENT_LENGTH is not set for a body whose length is not known beforehand: the
//     body streams, and the program reads to its end.
//   - A query without "=" is not split into arguments (4.4): a program's options are
//     not the client's to choose.
//   - Fields of the connection, "Proxy" (CVE-2016-5385) and the node's own are not
//     passed on, nor is a field with an underscore in its name, which could not be
//     told from one with a hyphen.
func Env(r *http.Request, m Mount) []Var {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	script, info := m.split(r.URL.Path)
	rawInfo := r.URL.EscapedPath()
	if script != "" {
		rawInfo = strings.TrimPrefix(rawInfo, (&url.URL{Path: script}).EscapedPath())
	}
	name, port := serverName(r.Host, scheme)
	client, clientPort, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	env := make([]Var, 0, 24+len(r.Header))
	env = append(env,
		Var{"GATEWAY_INTERFACE", "CGI/1.1"},
		Var{"REQUEST_METHOD", r.Method},
		Var{"SCRIPT_NAME", script},
		Var{"PATH_INFO", info},
		Var{"QUERY_STRING", r.URL.RawQuery},
		Var{"REMOTE_ADDR", client},
		Var{"REMOTE_HOST", client},
		Var{"REMOTE_PORT", clientPort},
		Var{"SERVER_NAME", name},
		Var{"SERVER_PORT", port},
		Var{"SERVER_PROTOCOL", r.Proto},
		Var{"SERVER_SOFTWARE", "orla"},
		Var{"REQUEST_SCHEME", scheme},
		Var{"REQUEST_URI", r.URL.RequestURI()},
		Var{"X_FULL_URL", scheme + "://" + r.Host + r.URL.RequestURI()},
		Var{"X_MATCHED_ROUTE", m.Pattern},
		Var{"X_RAW_PATH_INFO", rawInfo},
	)
	if scheme == "https" {
		env = append(env, Var{"HTTPS", "on"})
	}
	if r.ContentLength > 0 {
		env = append(env, Var{"CONTENT_LENGTH", strconv.FormatInt(r.ContentLength, 10)})
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		env = append(env, Var{"CONTENT_TYPE", t})
	}
	return fields(env, r)
}

// fields appends the request's header as HTTP_* (4.1.18).
func fields(env []Var, r *http.Request) []Var {
	env = append(env, Var{"HTTP_HOST", r.Host})
	for name, values := range r.Header {
		switch {
		case name == "Content-Type", name == "Content-Length", name == "Host",
			host.Hidden(name), strings.Contains(name, "_"):
			continue
		}
		sep := ", "
		if name == "Cookie" {
			sep = "; "
		}
		env = append(env, Var{"HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")), strings.Join(values, sep)})
	}
	return env
}

// split returns SCRIPT_NAME and PATH_INFO of a decoded path.
func (m Mount) split(path string) (script, info string) {
	rest, ok := strings.CutPrefix(path, m.ScriptName)
	if !ok || rest != "" && rest[0] != '/' {
		return "", path // a rewrite has led out of the pattern
	}
	return m.ScriptName, rest
}

// serverName returns SERVER_NAME and SERVER_PORT as the client named them, so that
// they make the URL again (3.3).
func serverName(hostport, scheme string) (name, port string) {
	u := url.URL{Host: hostport}
	name, port = u.Hostname(), u.Port()
	if strings.Contains(name, ":") {
		name = "[" + name + "]" // 4.1.14: an IPv6 address in brackets
	}
	switch {
	case port != "":
	case scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return name, port
}
