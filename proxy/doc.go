// Package proxy passes requests through to app servers: it picks one, sends the
// request as it came, and streams the answer back. It does not know of routes,
// releases or nodes.
//
// Three things have a lifetime each: a [Pool] holds the connections and the state
// of every upstream and lives as long as the process; a [Proxy] is one route's set
// of upstreams and lives as long as its release; an exchange is one request.
package proxy
