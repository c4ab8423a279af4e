package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestValidateRejectsMatches(t *testing.T) {
	with := func(change func(*orlav1.Match)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Routes[2].Match) }
	}
	conditions := func(names ...string) (cs []*orlav1.Condition) {
		for _, n := range names {
			cs = append(cs, &orlav1.Condition{Name: n, Value: "1"})
		}
		return cs
	}
	many := make([]string, maxMethods+1)
	for i := range many {
		many[i] = fmt.Sprintf("M%d", i)
	}
	checkRejects(t, []reject{
		{"path", with(func(m *orlav1.Match) { m.Path = "legacy" }), "routes[2].match.path", `write "/legacy"`},
		{"host", with(func(m *orlav1.Match) { m.Hosts = []string{"shop.exmaple"} }), "routes[2].match.hosts[0]", `did you mean "shop.example"?`},
		{"host twice", with(func(m *orlav1.Match) { m.Hosts = []string{"shop.example", "shop.example"} }), "routes[2].match.hosts[1]", "remove one"},
		{"method in lower case", with(func(m *orlav1.Match) { m.Methods = []string{"GET", "post"} }), "routes[2].match.methods[1]", `write "POST"`},
		{"no method", with(func(m *orlav1.Match) { m.Methods = []string{""} }), "routes[2].match.methods[0]", "not a method"},
		{"method with a space", with(func(m *orlav1.Match) { m.Methods = []string{"GET POST"} }), "routes[2].match.methods[0]", "not a method"},
		{"CONNECT", with(func(m *orlav1.Match) { m.Methods = []string{"CONNECT"} }), "routes[2].match.methods[0]", "refuses every CONNECT"},
		{"TRACE", with(func(m *orlav1.Match) { m.Methods = []string{"TRACE"} }), "routes[2].match.methods[0]", "refuses every TRACE"},
		{"method twice", with(func(m *orlav1.Match) { m.Methods = []string{"GET", "GET"} }), "routes[2].match.methods[1]", "remove one"},
		{"many methods", with(func(m *orlav1.Match) { m.Methods = many }), "routes[2].match.methods", "the most is 32"},
		{"header's name", with(func(m *orlav1.Match) { m.Headers = conditions("X Beta") }), "routes[2].match.headers", "not the name of a header field"},
		{"header's value", with(func(m *orlav1.Match) { m.Headers[0].Value = "a\r\nb" }), "routes[2].match.headers", "control character"},
		{"Host header", with(func(m *orlav1.Match) { m.Headers = conditions("host") }), "routes[2].match.headers", "use match.hosts"},
		{"header twice", with(func(m *orlav1.Match) { m.Headers = conditions("A", "a") }), "routes[2].match.headers", "two conditions"},
		{"many headers", with(func(m *orlav1.Match) { m.Headers = make([]*orlav1.Condition, 9) }), "routes[2].match.headers", "the most is 8"},
		{"query without name", with(func(m *orlav1.Match) { m.Query = conditions("") }), "routes[2].match.query", "no parameter name"},
		{"query in Latin-1", with(func(m *orlav1.Match) { m.Query[0].Value = "\xe9" }), "routes[2].match.query", "not UTF-8"},
		{"header in Latin-1", with(func(m *orlav1.Match) { m.Headers[0].Value = "\xe9" }), "routes[2].match.headers", "not UTF-8"},
		{"query twice", with(func(m *orlav1.Match) { m.Query = conditions("a", "a") }), "routes[2].match.query", "two conditions"},
		{"long query", with(func(m *orlav1.Match) { m.Query = conditions(strings.Repeat("a", 2000)) }), "routes[2].match.query", "shorten it"},
		{"many query", with(func(m *orlav1.Match) { m.Query = make([]*orlav1.Condition, 9) }), "routes[2].match.query", "the most is 8"},
		{"source", func(m *orlav1.Manifest) { m.Routes[0].Source = "orla.toml:1\n" }, "routes[0].source", "leave it out"},
	})
}

func TestValidateRejectsTargets(t *testing.T) {
	with := func(change func(*orlav1.Route)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Routes[2]) }
	}
	function := func(name string) func(m *orlav1.Manifest) {
		return with(func(r *orlav1.Route) { r.Target = &orlav1.Route_Function{Function: name} })
	}
	rewrite := func(to string) func(m *orlav1.Manifest) { return with(func(r *orlav1.Route) { r.Rewrite = to }) }
	redirect := func(to string, status uint32) func(m *orlav1.Manifest) {
		return with(func(r *orlav1.Route) {
			r.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: to, Status: status}}
		})
	}
	respond := func(spec *orlav1.Respond) func(m *orlav1.Manifest) {
		return with(func(r *orlav1.Route) { r.Target = &orlav1.Route_Respond{Respond: spec} })
	}
	checkRejects(t, []reject{
		{"none", with(func(r *orlav1.Route) { r.Target = nil }), "routes[2]", "leads nowhere"},
		{"misspelt function", function("apl"), "routes[2].function", `did you mean "api"?`},
		{"unknown function", function("something"), "routes[2].function", `there are only ["api" "auth" "log"]`},
		{"site is false", with(func(r *orlav1.Route) { r.Target = &orlav1.Route_Site{} }), "routes[2].site", "set it to true"},
		{"no site", func(m *orlav1.Manifest) { m.Site = nil }, "routes[1].site", "add [site]"},
		{"nil proxy", with(func(r *orlav1.Route) { r.Target = &orlav1.Route_Proxy{} }), "routes[2].proxy.to", "name 1 to 64"},

		{"rewrite to a URL", rewrite("https://new.example/"), "routes[2].rewrite", "use a redirect or proxy"},
		{"rewrite with an unknown capture", rewrite("/:splat"), "routes[2].rewrite", "only :id"},
		{"rewrite with a fragment", rewrite("/x#y"), "routes[2].rewrite", "has a fragment"},
		{"rewrite above the root", rewrite("/../x"), "routes[2].rewrite", "no path that a request can have"},
		{"rewrite to a NUL", rewrite("/%00"), "routes[2].rewrite", "no path that a request can have"},

		{"redirect to nothing", redirect("", 302), "routes[2].redirect.to", "begin it with"},
		{"redirect with an unknown capture", redirect("/:splat", 302), "routes[2].redirect.to", "only :id"},
		{"redirect's status", redirect("/", 0), "routes[2].redirect.status", "use 301"},

		{"respond's status", respond(&orlav1.Respond{Status: 101}), "routes[2].respond.status", "use 200 to 599"},
		{"respond without status", respond(&orlav1.Respond{}), "routes[2].respond.status", "use 200 to 599"},
		{"body where none can be", respond(&orlav1.Respond{Status: 204, Body: "x"}), "routes[2].respond.body", "has no body"},
		{"large body", respond(&orlav1.Respond{Status: 200, Body: strings.Repeat("x", maxRespondBody+1)}), "routes[2].respond.body", "the most is 65536"},
		{"body in Latin-1", respond(&orlav1.Respond{Status: 200, Body: "\xe9"}), "routes[2].respond.body", "not UTF-8"},
		{"respond's type", respond(&orlav1.Respond{Status: 200, MediaType: "x"}), "routes[2].respond.type", "not a media type"},
	})
}

func TestValidateRejectsProxies(t *testing.T) {
	to := func(to ...string) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Routes[2].GetProxy().To = to }
	}
	with := func(change func(*orlav1.Proxy)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Routes[2].GetProxy()) }
	}
	const first = "routes[2].proxy.to[0]"
	checkRejects(t, []reject{
		{"none", to(), "routes[2].proxy.to", "name 1 to 64"},
		{"no scheme", to("10.0.0.5:8080"), first, "not a URL"},
		{"host alone", to("app.example"), first, "has no scheme"},
		{"FastCGI", to("fastcgi://10.0.0.6:9000"), first, "http and https only"},
		{"no host", to("http:///x"), first, "no valid host"},
		{"opaque", to("http:x"), first, "not a URL"},
		{"host that is none", to("http://a..b/"), first, "no valid host"},
		{"user", to("http://u:p@a.example/"), first, "request_headers"},
		{"query", to("http://a.example/?x=1"), first, "query or fragment"},
		{"empty query", to("http://a.example/?"), first, "query or fragment"},
		{"fragment", to("http://a.example/#x"), first, "query or fragment"},
		{"port 0", to("http://a.example:0/"), first, "no valid port"},
		{"no port", to("http://a.example:/"), first, "no valid port"},
		{"port", to("http://a.example:65536/"), first, "no valid host"},
		{"path", to("http://a.example/x/../../y"), first, "path that no request can have"},
		{"control character", to("http://a.example/\x7f"), first, "not a URL"},
		{"long", to("http://a.example/" + strings.Repeat("x", 1<<20)), first, "too long"},
		{"twice", to("http://a.example", "http://a.example"), "routes[2].proxy.to[1]", "remove one"},
		{"health", with(func(p *orlav1.Proxy) { p.Health = "healthz" }), "routes[2].proxy.health", `such as "/healthz"`},
		{"health with a query", with(func(p *orlav1.Proxy) { p.Health = "/x?y" }), "routes[2].proxy.health", `such as "/healthz"`},
		{"timeout", with(func(p *orlav1.Proxy) { p.Timeout = durationpb.New(2 * time.Hour) }), "routes[2].proxy.timeout", "at most 1h"},
	})
}

func TestValidateRejectsHeaderChanges(t *testing.T) {
	field := func(name, value string) []*orlav1.Field { return []*orlav1.Field{{Name: name, Value: value}} }
	response := func(c *orlav1.HeaderChanges) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Routes[0].Headers = c }
	}
	request := func(c *orlav1.HeaderChanges) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Routes[0].RequestHeaders = c }
	}
	checkRejects(t, []reject{
		{"name", response(&orlav1.HeaderChanges{Set: field("a:b", "")}), "routes[0].headers.set", "not the name"},
		{"value", response(&orlav1.HeaderChanges{Set: field("A", "b\nc")}), "routes[0].headers.set", "control character"},
		{"space", response(&orlav1.HeaderChanges{Add: field("A", " b")}), "routes[0].headers.add", "a space at its begin"},
		{"long value", response(&orlav1.HeaderChanges{Add: field("A", strings.Repeat("b", 1<<20))}), "routes[0].headers.add", "shorten it"},
		{"length", response(&orlav1.HeaderChanges{Set: field("content-length", "1")}), "routes[0].headers.set", "belongs to the node"},
		{"hop by hop", request(&orlav1.HeaderChanges{Remove: []string{"TE"}}), "routes[0].request_headers.remove", "belongs to the node"},
		{"chunked", response(&orlav1.HeaderChanges{Add: field("Transfer-Encoding", "chunked")}), "routes[0].headers.add", "belongs to the node"},
		{"the node's", response(&orlav1.HeaderChanges{Set: field("orla-revision", "1")}), "routes[0].headers.set", "belongs to the node"},
		{"twice", request(&orlav1.HeaderChanges{Set: append(field("A", "1"), field("a", "2")...)}), "routes[0].request_headers.set", "use add"},
		{"many", request(&orlav1.HeaderChanges{Remove: make([]string, maxChanges+1)}), "routes[0].request_headers", "the most is 100"},
	})
}

func TestValidateRejectsWhatRoutesAreTogether(t *testing.T) {
	respond := func(r *orlav1.Route) { r.Target = &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200}} }
	add := func(routes ...*orlav1.Route) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Routes = append(m.Routes, routes...) }
	}
	rewrite := func(path, to string) *orlav1.Route {
		return route(path, func(r *orlav1.Route) { r.Rewrite = to })
	}
	checkRejects(t, []reject{
		{"the same", add(route("/gone", respond)), "routes[6]", "the one at orla.toml:7 matches the same requests"},
		{"every path", add(route("/*", respond)), "routes[6]", "never matches"},
		{"without a source", func(m *orlav1.Manifest) {
			m.Routes[4].Source = ""
			m.Routes = append(m.Routes, route("/gone", respond))
		}, "routes[6]", "routes[4] matches the same requests"},

		{"rewrite to itself", add(rewrite("/a", "/a")), "routes[6].rewrite", `a request for "/a" is rewritten over and over`},
		{"rewrite below itself", add(rewrite("/a/*", "/a/b/:splat")), "routes[6].rewrite", `"/a/b/any", "/a/b/b/any"`},
		{"rewrite of a parameter", add(rewrite("/a/{id}", "/a/x-:id")), "routes[6].rewrite", "over and over"},
		{"loop under conditions", add(route("/a", func(r *orlav1.Route) {
			r.Rewrite = "/a?w=1"
			r.Match.Methods = []string{"POST"}
			r.Match.Headers = []*orlav1.Condition{{Name: "x-beta", Value: "1"}}
			r.Match.Query = []*orlav1.Condition{{Name: "v", Value: "a&b"}}
		})), "routes[6].rewrite", "over and over"},
		{"many conditions", func(m *orlav1.Manifest) {
			for i := range maxConditioned {
				m.Routes = append(m.Routes, route(fmt.Sprintf("/x%d", i), func(r *orlav1.Route) {
					respond(r)
					r.Match.Query = []*orlav1.Condition{{Name: "v"}}
				}))
			}
		}, "routes", "1001 routes have header or query conditions"},
		{"many narrowed", func(m *orlav1.Manifest) {
			for i := range maxNarrowed / 4 {
				m.Routes = append(m.Routes, route(fmt.Sprintf("/x%d", i), func(r *orlav1.Route) {
					respond(r)
					r.Match.Hosts = []string{"shop.example", "*.shop.example", "a.example", "b.example"}
				}))
			}
			m.Hosts = append(m.Hosts, "a.example", "b.example")
		}, "routes", "the routes name hosts 20001 times"},
		{"trees too large", func(m *orlav1.Manifest) {
			for i := range 490 {
				h := fmt.Sprintf("h%d.example", i)
				m.Hosts = append(m.Hosts, h)
				m.Routes = append(m.Routes, route(fmt.Sprintf("/x%d", i), respond), route("/y", func(r *orlav1.Route) {
					respond(r)
					r.Match.Hosts = []string{h}
				}))
			}
		}, "routes", "more than 200000 routes together"},
		{"many kinds of methods", func(m *orlav1.Manifest) {
			for i := range 70 {
				m.Routes = append(m.Routes, route("/x", func(r *orlav1.Route) {
					respond(r)
					r.Match.Methods = []string{fmt.Sprintf("M%d", i)}
				}))
			}
		}, "routes", "more than 63 methods"},
	})
	loops := shop()
	loops.Routes = append(loops.Routes, rewrite("/a", "/b"), rewrite("/b", "/c/x"), rewrite("/c/*", "/a"))
	if ps := Validate(loops); len(ps) != 3 {
		t.Errorf("Validate of a loop of three = %v, want each of them", ps)
	}
}

func TestValidateAcceptsRewritesThatEnd(t *testing.T) {
	rewrite := func(path, to string) *orlav1.Route {
		return route(path, func(r *orlav1.Route) { r.Rewrite = to })
	}
	for _, tt := range []struct {
		name   string
		routes []*orlav1.Route
	}{
		{"at a target", []*orlav1.Route{rewrite("/a/*", "/api/:splat")}},
		{"over another", []*orlav1.Route{rewrite("/a/*", "/b/:splat"), rewrite("/b/*", "/api/:splat")}},
		{"at a literal below itself", []*orlav1.Route{rewrite("/a/*", "/a/x"), route("/a/x", func(r *orlav1.Route) { r.Target = &orlav1.Route_Site{Site: true} })}},
		{"by a header that it sets", []*orlav1.Route{
			route("/a", func(r *orlav1.Route) {
				r.Rewrite = "/a"
				r.RequestHeaders = &orlav1.HeaderChanges{Set: []*orlav1.Field{{Name: "x-seen", Value: "1"}}}
			}),
			route("/a", func(r *orlav1.Route) {
				r.Match.Headers = []*orlav1.Condition{{Name: "X-Seen", Value: "1"}}
				r.Target = &orlav1.Route_Site{Site: true}
			}),
		}},
		{"by a query that it adds", []*orlav1.Route{
			rewrite("/a", "/a?seen=1"),
			route("/a", func(r *orlav1.Route) {
				r.Match.Query = []*orlav1.Condition{{Name: "seen", Value: "1"}}
				r.Target = &orlav1.Route_Site{Site: true}
			}),
		}},
	} {
		m := shop()
		m.Routes = append(m.Routes, tt.routes...)
		if ps := Validate(m); ps != nil {
			t.Errorf("%s: Validate = %v", tt.name, ps)
		}
	}
}

// TestValidateLooksForNamesAsLongAsItReports has a stranger ask for what costs
// the most: the nearest of many long names, again and again.
func TestValidateLooksForNamesAsLongAsItReports(t *testing.T) {
	m := shop()
	long := strings.Repeat("a", 55)
	for i := range 20 {
		m.Functions = append(m.Functions, &orlav1.Function{Name: fmt.Sprintf("%s%d", long, i), Module: digest("x")})
	}
	for i := range 3 * maxProblems {
		m.Routes = append(m.Routes, route(fmt.Sprintf("/z%d", i), func(r *orlav1.Route) {
			r.Target = &orlav1.Route_Function{Function: fmt.Sprintf("%s-%d", strings.Repeat("b", 55), i)}
		}))
	}
	v := validator{manifest: m}
	v.functions()
	v.allRoutes()
	if v.compared > maxProblems {
		t.Errorf("looked for the nearest name %d times, want at most %d", v.compared, maxProblems)
	}
	if ps := v.all(); len(ps) != maxProblems+1 {
		t.Errorf("Validate reports %d problems", len(ps))
	}
}
