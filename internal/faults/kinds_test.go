//go:build linux

package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

type manifest = orlav1.Manifest

func badNames() []bad {
	name := func(m *manifest, v string) { m.Name = v }
	all := rows("name", "name", name, "", "Target", "target-", "-target", "a.b", "a_b", "a b", "target\n", "*", "ü", "a/b", "shop:8080", strings.Repeat("a", 64))
	live := row("another release is live", "release 1 of", func(*manifest) {})
	live.live = 7
	return append(all, live,
		row("no kind", "kind", func(m *manifest) { m.Kind = 0 }),
		row("unknown kind", "kind", func(m *manifest) { m.Kind = 7 }),
		row("a route set with a site", "site", func(m *manifest) { m.Kind, m.Functions, m.Routes = orlav1.Kind_KIND_ROUTES, nil, nil }),
		row("a route set of an app's name", "is already the name of an app", func(m *manifest) {
			m.Kind, m.Site, m.Functions, m.Routes = orlav1.Kind_KIND_ROUTES, nil, nil, m.Routes[1:2]
		}),
		row("an app of a route set's name", "is already the name of a route set", func(m *manifest) { m.Name = "taken" }),
		row("nothing to serve", "", func(m *manifest) { m.Site, m.Functions, m.Routes = nil, nil, nil }),
		row("an unknown field", "does not know", func(m *manifest) {
			m.Routes[2].GetProxy().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		}),
	)
}

func badHosts() []bad {
	host := func(m *manifest, v string) { m.Hosts = append(m.Hosts, v) }
	all := rows("host", "hosts[2]", host, "", "a.test:80", "A.test", "target.test", "http://a.test", "a.test/x", "a..test", "*.*.test", "a b.test", "a.test.*", strings.Repeat("a", 300))
	return append(all,
		row("no host", "hosts", func(m *manifest) { m.Hosts = nil }),
		row("too many hosts", "hosts", func(m *manifest) {
			for i := range 1000 {
				host(m, fmt.Sprintf("h%d.test", i))
			}
		}),
		row("a host that another set has", `already served by "taken"`, func(m *manifest) { host(m, "taken.test") }),
		row("every host, which another app has", `"home" already serves every host`, func(m *manifest) { host(m, "*") }),
	)
}

func badFiles() []bad {
	add := func(m *manifest, path string) {
		f := m.Site.Files[1]
		m.Site.Files = append(m.Site.Files, &orlav1.File{Path: path, Digest: f.GetDigest(), Size: f.GetSize(), MediaType: f.GetMediaType()})
	}
	first := func(change func(*orlav1.File)) func(*manifest) { return func(m *manifest) { change(m.Site.Files[0]) } }
	all := rows("file", "site.files[", add, "x", "", "/", "/x/", "/x//y", "/x/./y", "/x/../y", `/x\y`, "/x\x00", "/x\ny", "/index.html", "/a", "/"+strings.Repeat("x", 1<<16))
	all = append(all, rows("digest of a file", "not a digest", func(m *manifest, v string) { m.Site.Files[0].Digest = v },
		"", "sha256:", "sha256:ABC", "sha512:"+strings.Repeat("0", 128), "sha256:"+strings.Repeat("G", 64), strings.Repeat("0", 64))...)
	all = append(all, rows("size of a file", "site.files[/b.txt]", func(m *manifest, v int64) { m.Site.Files[0].Size = v },
		-1, 0, int64(len(good))-1, int64(len(good))+1, 1<<62)...)
	all = append(all, rows("media type", "not a media type", func(m *manifest, v string) { m.Site.Files[0].MediaType = v },
		"", "html", "text/", "text/html; a=\"\n\"")...)
	return append(all,
		row("a file whose content nobody has", "not on the node", first(func(f *orlav1.File) { f.Digest = modules.Sum([]byte("nobody has it")).String() })),
		row("variants from a client", "must not send variants", first(func(f *orlav1.File) { f.Variants = []*orlav1.Variant{{Coding: "br", Digest: f.GetDigest()}} })),
		row("unknown not_found", "site.not_found", func(m *manifest) { m.Site.NotFound = 9 }),
		row("unknown html", "site.html", func(m *manifest) { m.Site.Html = 9 }),
		row("too many files", "the most is", func(m *manifest) { m.Site.Files = repeated(200_001, &orlav1.File{}) }),
		row("a file and a folder of one name", "cannot be a folder", func(m *manifest) {
			add(m, "/x")
			add(m, "/x/y")
		}),
	)
}

func badFunctions() []bad {
	with := func(change func(*orlav1.Function)) func(*manifest) {
		return func(m *manifest) { change(m.Functions[0]) }
	}
	limit := func(key string, l *orlav1.Limits) bad {
		return row("limit of "+key+" "+l.String(), "functions.api.limits."+key, with(func(f *orlav1.Function) { f.Limits = l }))
	}
	env := func(m *manifest, v string) {
		name, value, _ := strings.Cut(v, ":")
		m.Functions[0].Env = map[string]string{name: value}
	}
	all := rows("variable", "functions.api.env", env, ":", "A=B:", "A:\x00", "A:"+strings.Repeat("a", 1<<20))
	all = append(all, rows("argument", "functions.api.args", func(m *manifest, v string) { m.Functions[0].Args = []string{v} }, "\x00", strings.Repeat("a", 1<<20))...)
	all = append(all, rows("memory", "functions.api.memory", func(m *manifest, v int64) { m.Functions[0].MemoryBytes = v }, -1, 1, 65535, 4<<30+1)...)
	all = append(all, rows("timeout", "functions.api.timeout", func(m *manifest, v time.Duration) { m.Functions[0].Timeout = durationpb.New(v) }, 0, -1, time.Hour+1)...)
	all = append(all, rows("CPU", "functions.api.cpu", func(m *manifest, v time.Duration) { m.Functions[0].Cpu = durationpb.New(v) }, 0, -1, time.Hour+1)...)
	all = append(all, rows("store", "functions.api.kv[0]", func(m *manifest, v string) { m.Functions[0].Kv = []string{v} }, "", "*", "s.t", strings.Repeat("s", 64))...)
	all = append(all, rows("secret", "functions.api.secrets[0]", func(m *manifest, v string) { m.Functions[0].Secrets = []*orlav1.SecretRef{{Name: v}} }, "", "key", "1A", strings.Repeat("A", 65))...)
	return append(all,
		limit("stack", &orlav1.Limits{StackBytes: -1}), limit("stack", &orlav1.Limits{StackBytes: 64<<20 + 1}),
		limit("table", &orlav1.Limits{TableElements: 100_001}), limit("request_body", &orlav1.Limits{RequestBodyBytes: -1}),
		limit("response_body", &orlav1.Limits{ResponseBodyBytes: 16<<30 + 1}), limit("log", &orlav1.Limits{LogBytes: 16<<20 + 1}),
		limit("log_rate", &orlav1.Limits{LogLinesPerSecond: 100_001}), limit("host_calls", &orlav1.Limits{HostCalls: 1e9 + 1}),
		row("a function's name", "inner hyphens", with(func(f *orlav1.Function) { f.Name = "x.y" })),
		row("two functions of one name", "rename one", func(m *manifest) { m.Functions = append(m.Functions, m.Functions[0]) }),
		row("a module without a digest", "functions.api.module", with(func(f *orlav1.Function) { f.Module = "" })),
		row("a module that nobody has", "not on the node", with(func(f *orlav1.Function) { f.Module = modules.Sum([]byte("nobody has it")).String() })),
		row("a module of another size", "functions.api.module", with(func(f *orlav1.Function) { f.ModuleSize++ })),
		row("a module of negative size", "functions.api.module", with(func(f *orlav1.Function) { f.ModuleSize = -1 })),
		row("a module's source", "functions.api.source", with(func(f *orlav1.Function) { f.Source = "\x1b[31m" })),
		row("an ABI from a client", "functions.api.abi", with(func(f *orlav1.Function) { f.Abi = orlav1.Abi_ABI_CGI })),
		row("unknown ABI", "functions.api.abi", with(func(f *orlav1.Function) { f.Abi = 99 })),
		row("unknown isolation", "functions.api.isolation", with(func(f *orlav1.Function) { f.Isolation = 99 })),
		row("concurrency", "functions.api.concurrency", with(func(f *orlav1.Function) { f.Concurrency = 1 << 31 })),
		row("a store twice", "functions.api.kv[1]", with(func(f *orlav1.Function) { f.Kv = []string{"s", "s"} })),
		row("too many stores", "functions.api.kv", with(func(f *orlav1.Function) { f.Kv = slices.Repeat([]string{"s"}, 17) })),
		row("a secret that is not set", "NOT_SET", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: "NOT_SET"}} })),
		row("a secret and a variable", "env too", with(func(f *orlav1.Function) {
			f.Env, f.Secrets = map[string]string{"A": ""}, []*orlav1.SecretRef{{Name: "A"}}
		})),
		row("a file of a function outside", "not clean", with(func(f *orlav1.Function) {
			f.Files = []*orlav1.File{{Path: "/../x", Digest: modules.Sum([]byte(good)).String(), Size: int64(len(good))}}
		})),
		row("a file of a function that nobody has", "not on the node", with(func(f *orlav1.Function) {
			f.Files = []*orlav1.File{{Path: "/x", Digest: modules.Sum([]byte("nobody has it")).String(), Size: 3}}
		})),
		row("too many functions", "the most is 1000", func(m *manifest) { m.Functions = repeated(1001, m.Functions[0]) }),
	)
}

func badMatches() []bad {
	with := func(change func(*orlav1.Match)) func(*manifest) {
		return func(m *manifest) { change(m.Routes[2].Match) }
	}
	all := rows("path", "routes[2].match.path", func(m *manifest, v string) { m.Routes[2].Match.Path = v },
		"up", "/a*b", "/{", "/{}", "/{a}/{a}", "/a/../b", "/\x00", "/%zz", "/*/x", "/"+strings.Repeat("x", 1<<16))
	all = append(all, rows("method", "routes[2].match.methods[0]", func(m *manifest, v string) { m.Routes[2].Match.Methods = []string{v} },
		"", "get", "GET POST", "CONNECT", "TRACE")...)
	return append(all,
		row("a host that is not the app's", "routes[2].match.hosts[0]", with(func(m *orlav1.Match) { m.Hosts = []string{"taken.test"} })),
		row("a host twice in a match", "routes[2].match.hosts[1]", with(func(m *orlav1.Match) { m.Hosts = []string{"target.test", "target.test"} })),
		row("a header's name in a match", "routes[2].match.headers", with(func(m *orlav1.Match) { m.Headers = []*orlav1.Condition{{Name: "X Beta"}} })),
		row("the Host header in a match", "use match.hosts", with(func(m *orlav1.Match) { m.Headers = []*orlav1.Condition{{Name: "host"}} })),
		row("too many headers in a match", "the most is 8", with(func(m *orlav1.Match) { m.Headers = repeated(9, &orlav1.Condition{Name: "A"}) })),
		row("a query without a name", "routes[2].match.query", with(func(m *orlav1.Match) { m.Query = []*orlav1.Condition{{}} })),
		row("too many queries", "the most is 8", with(func(m *orlav1.Match) { m.Query = repeated(9, &orlav1.Condition{Name: "a"}) })),
		row("a route's source", "routes[0].source", func(m *manifest) { m.Routes[0].Source = "orla.toml:1\n" }),
		row("too many routes", "the most is 10000", func(m *manifest) { m.Routes = repeated(10_001, m.Routes[1]) }),
	)
}

func badTargets() []bad {
	target := func(name, says string, change func(r *orlav1.Route)) bad {
		return row(name, says, func(m *manifest) { change(m.Routes[2]) })
	}
	respond := func(name, says string, r *orlav1.Respond) bad {
		return target(name, says, func(route *orlav1.Route) { route.Target = &orlav1.Route_Respond{Respond: r} })
	}
	all := rows("rewrite", "routes[2].rewrite", func(m *manifest, v string) { m.Routes[2].Rewrite = v }, "https://new.test/", "/:splat", "/x#y", "/../x", "/%00", "x")
	all = append(all, rows("redirect", "routes[2].redirect.to", func(m *manifest, v string) {
		m.Routes[2].Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: v, Status: 302}}
	}, "", "/:splat", "javascript:alert(1)")...)
	return append(all,
		target("a route to nowhere", "leads nowhere", func(r *orlav1.Route) { r.Target = nil }),
		target("a route to an unknown function", "routes[2].function", func(r *orlav1.Route) { r.Target = &orlav1.Route_Function{Function: "apl"} }),
		target("a site that is false", "set it to true", func(r *orlav1.Route) { r.Target = &orlav1.Route_Site{} }),
		row("a route to a site that is not there", "add [site]", func(m *manifest) {
			m.Site, m.Routes[2].Target = nil, &orlav1.Route_Site{Site: true}
		}),
		target("a redirect's status", "redirect.status", func(r *orlav1.Route) { r.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: "/"}} }),
		respond("a response's status", "respond.status", &orlav1.Respond{Status: 101}),
		respond("a body where none can be", "has no body", &orlav1.Respond{Status: 204, Body: "x"}),
		respond("a large body", "the most is 65536", &orlav1.Respond{Status: 200, Body: strings.Repeat("x", 65537)}),
		respond("a response's media type", "not a media type", &orlav1.Respond{Status: 200, MediaType: "x"}),
	)
}

func badProxies() []bad {
	all := rows("upstream", "routes[2].proxy.to[0]", func(m *manifest, v string) { m.Routes[2].GetProxy().To = []string{v} },
		"10.0.0.5:8080", "app.test", "fastcgi://10.0.0.6:9000", "http:///x", "http:x", "http://a..b/", "http://u:p@a.test/", "http://a.test/?x=1", "http://a.test/#x",
		"http://a.test:0/", "http://a.test:/", "http://a.test:65536/", "http://a.test/x/../../y", "http://a.test/\x7f")
	return append(all,
		row("no upstream", "routes[2].proxy.to", func(m *manifest) { m.Routes[2].GetProxy().To = nil }),
		row("an upstream twice", "routes[2].proxy.to[1]", func(m *manifest) { m.Routes[2].GetProxy().To = []string{"http://a.test", "http://a.test"} }),
		row("a health check", "routes[2].proxy.health", func(m *manifest) { m.Routes[2].GetProxy().Health = "healthz" }),
		row("a proxy's timeout", "routes[2].proxy.timeout", func(m *manifest) { m.Routes[2].GetProxy().Timeout = durationpb.New(2 * time.Hour) }),
	)
}

func badHeaders() []bad {
	field := func(name, value string) []*orlav1.Field { return []*orlav1.Field{{Name: name, Value: value}} }
	set := func(m *manifest, v string) {
		name, value, _ := strings.Cut(v, "=")
		m.Routes[0].Headers = &orlav1.HeaderChanges{Set: field(name, value)}
	}
	all := rows("header", "routes[0].headers.set", set, "a:b=", "A=b\nc", "A= b", "A="+strings.Repeat("b", 1<<17), "content-length=1", "Transfer-Encoding=chunked", "orla-revision=1")
	return append(all,
		row("a header twice", "use add", func(m *manifest) {
			m.Routes[0].RequestHeaders = &orlav1.HeaderChanges{Set: append(field("A", "1"), field("a", "2")...)}
		}),
		row("a hop-by-hop header", "belongs to the node", func(m *manifest) { m.Routes[0].RequestHeaders = &orlav1.HeaderChanges{Remove: []string{"TE"}} }),
	)
}

// badTogether are releases of which each part is good by itself.
func badTogether() []bad {
	middleware := func(m *manifest, v []string) { m.Routes[1].Middleware = v }
	rewrite := func(m *manifest, v [2]string) {
		m.Routes = append(m.Routes, &orlav1.Route{Match: &orlav1.Match{Path: v[0]}, Source: "orla.toml:40", Rewrite: v[1]})
	}
	all := rows("middleware", "routes[1].middleware", middleware, []string{"auth"}, []string{"api", "api"}, slices.Repeat([]string{"api"}, 17))
	all = append(all, rows("loop", "over and over", rewrite, [2]string{"/a", "/a"}, [2]string{"/a/*", "/a/b/:splat"}, [2]string{"/a/{id}", "/a/x-:id"})...)
	return append(all,
		row("its own target as middleware", "the route's target already", func(m *manifest) { m.Routes[0].Middleware = []string{"api"} }),
		row("two routes for the same", "matches the same requests", func(m *manifest) { m.Routes = append(m.Routes, m.Routes[1]) }),
		row("two routes that rewrite to each other", "over and over", func(m *manifest) {
			rewrite(m, [2]string{"/p", "/q"})
			rewrite(m, [2]string{"/q", "/p"})
		}),
		row("too many routes with conditions", "have header or query conditions", func(m *manifest) {
			for i := range 1001 {
				m.Routes = append(m.Routes, &orlav1.Route{
					Match: &orlav1.Match{Path: fmt.Sprintf("/x%d", i), Query: []*orlav1.Condition{{Name: "v"}}}, Target: m.Routes[1].GetTarget(),
				})
			}
		}),
	)
}
