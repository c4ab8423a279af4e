package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func digest(s string) string { return modules.Sum([]byte(s)).String() }

func file(path string) *orlav1.File {
	return &orlav1.File{Path: path, Digest: digest(path), Size: 12, MediaType: "text/html; charset=utf-8"}
}

// shop returns a manifest with something of everything, which is valid.
func shop() *orlav1.Manifest {
	return &orlav1.Manifest{
		Name: "shop", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"shop.example", "*.shop.example"},
		Site: &orlav1.Site{
			Files:    []*orlav1.File{file("/404.html"), file("/a b/ü.html"), file("/index.html")},
			NotFound: orlav1.NotFound_NOT_FOUND_PAGE, Html: orlav1.Html_HTML_AUTO,
		},
		Functions: []*orlav1.Function{{
			Name: "api", Module: digest("api"), ModuleSize: 3, Source: "api.wasm", MemoryBytes: 64 << 20,
			Timeout: durationpb.New(10 * time.Second), Concurrency: 64, Env: map[string]string{"GREETING": "hello"},
			Args: []string{"-v"}, Files: []*orlav1.File{{Path: "/lib/x.py", Digest: digest("x")}},
			Cpu: durationpb.New(50 * time.Millisecond), Isolation: orlav1.Isolation_ISOLATION_FRESH, ServerTiming: true,
			Limits: &orlav1.Limits{
				StackBytes: 8 << 20, TableElements: 10_000, RequestBodyBytes: 10 << 20, ResponseBodyBytes: 16 << 30,
				LogBytes: 256 << 10, LogLinesPerSecond: 1000, HostCalls: 1_000_000,
			},
		}, {Name: "auth", Module: digest("auth"), ModuleSize: 4}, {Name: "log", Module: digest("log"), ModuleSize: 3}},
		Routes: []*orlav1.Route{
			route("/api/*", func(r *orlav1.Route) { r.Target = &orlav1.Route_Function{Function: "api"} }),
			route("", func(r *orlav1.Route) {
				r.Target = &orlav1.Route_Site{Site: true}
				r.Middleware = []string{"log", "auth"}
			}),
			route("/legacy/{id}", func(r *orlav1.Route) {
				r.Match.Methods = []string{"GET", "POST"}
				r.Match.Headers = []*orlav1.Condition{{Name: "X-Beta", Value: "1"}}
				r.Match.Query = []*orlav1.Condition{{Name: "v", Value: "2"}}
				r.Match.Hosts = []string{"*.shop.example"}
				r.Headers = &orlav1.HeaderChanges{Set: []*orlav1.Field{{Name: "X-Frame-Options", Value: "DENY"}}, Remove: []string{"Server"}}
				r.RequestHeaders = &orlav1.HeaderChanges{Add: []*orlav1.Field{{Name: "X-From", Value: "edge"}}}
				r.Target = &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{"http://10.0.0.5:8080/base", "https://app.example"}, Health: "/healthz", Timeout: durationpb.New(time.Minute)}}
			}),
			route("/old/*", func(r *orlav1.Route) {
				r.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: "https://new.example/:splat", Status: 308}}
			}),
			route("/gone", func(r *orlav1.Route) {
				r.Target = &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 410, Body: "gone", MediaType: "text/plain"}}
			}),
			route("/v1/*", func(r *orlav1.Route) { r.Rewrite = "/api/:splat?v=1" }),
		},
	}
}

func route(path string, f func(*orlav1.Route)) *orlav1.Route {
	r := &orlav1.Route{Match: &orlav1.Match{Path: path}, Source: "orla.toml:7"}
	f(r)
	return r
}

func TestValidateAcceptsTheWhole(t *testing.T) {
	if ps := Validate(shop()); ps != nil {
		t.Errorf("Validate: %v", ps)
	}
	if ps := Validate(&orlav1.Manifest{Name: "edge", Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{"*"}}); ps != nil {
		t.Errorf("Validate of an empty route set: %v", ps)
	}
	if ps := Validate(nil); len(ps) == 0 {
		t.Error("Validate accepts nil")
	}
}

// reject is a change to a valid manifest, and what has to be said of it.
type reject struct {
	name           string
	change         func(m *orlav1.Manifest)
	field, message string
}

func checkRejects(t *testing.T, rejects []reject) {
	t.Helper()
	for _, tt := range rejects {
		t.Run(tt.name, func(t *testing.T) {
			m := shop()
			tt.change(m)
			ps := Validate(m)
			for _, p := range ps {
				if p.Field == tt.field && strings.Contains(p.Message, tt.message) {
					if len(ps) > 1 {
						t.Errorf("Validate reports more than that:\n%v", ps)
					}
					if len(p.Message) > 800 {
						t.Errorf("the message has %d bytes", len(p.Message))
					}
					return
				}
			}
			t.Errorf("Validate = %.2000v\nwant %s: …%s…", ps, tt.field, tt.message)
		})
	}
}

func TestValidateRejects(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	checkRejects(t, []reject{
		{"no name", func(m *orlav1.Manifest) { m.Name = "" }, "name", "the name is empty"},
		{"name in upper case", func(m *orlav1.Manifest) { m.Name = "Shop" }, "name", "lower-case"},
		{"name with a hyphen at its end", func(m *orlav1.Manifest) { m.Name = "shop-" }, "name", "inner hyphens"},
		{"long name", func(m *orlav1.Manifest) { m.Name = long }, "name", "1 to 63"},
		{"no kind", func(m *orlav1.Manifest) { m.Kind = 0 }, "kind", "neither an app nor a route set"},
		{"unknown kind", func(m *orlav1.Manifest) { m.Kind = 7 }, "kind", "neither an app nor a route set"},
		{"empty app", func(m *orlav1.Manifest) { m.Site, m.Functions, m.Routes = nil, nil, nil }, "", "nothing to serve"},
		{"route set with a site", func(m *orlav1.Manifest) { m.Kind, m.Functions, m.Routes = orlav1.Kind_KIND_ROUTES, nil, nil }, "site", "deploy it as an app"},
		{"route set with functions", func(m *orlav1.Manifest) { m.Kind, m.Site, m.Routes = orlav1.Kind_KIND_ROUTES, nil, nil }, "functions", "deploy it as an app"},
		{"unknown field", func(m *orlav1.Manifest) {
			m.Routes[2].GetProxy().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		}, "", "proxy has a part that this version of the node does not know"},

		{"no hosts", func(m *orlav1.Manifest) { m.Hosts = nil; m.Routes = m.Routes[:2] }, "hosts", "there is no host"},
		{"host with port", func(m *orlav1.Manifest) { m.Hosts = append(m.Hosts, "a.example:80") }, "hosts[2]", "leave it out"},
		{"host in upper case", func(m *orlav1.Manifest) { m.Hosts = append(m.Hosts, "A.example") }, "hosts[2]", `write "a.example"`},
		{"host twice", func(m *orlav1.Manifest) { m.Hosts = append(m.Hosts, m.Hosts[0]) }, "hosts[2]", "twice"},
		{"too many hosts", func(m *orlav1.Manifest) {
			for i := range maxHosts {
				m.Hosts = append(m.Hosts, fmt.Sprintf("h%d.example", i))
			}
		}, "hosts", "the most is 499"},
		{"too many functions", func(m *orlav1.Manifest) { m.Functions = make([]*orlav1.Function, maxFunctions+1) }, "functions", "the most is 1000"},
		{"too many routes", func(m *orlav1.Manifest) { m.Routes = make([]*orlav1.Route, maxRoutes+1) }, "routes", "the most is 10000"},
		{"too many files", func(m *orlav1.Manifest) { m.Site.Files = make([]*orlav1.File, maxFiles+1) }, "site", "the most is 200000"},
		{"too many files of functions", func(m *orlav1.Manifest) { m.Functions[0].Files = make([]*orlav1.File, maxFiles+1) }, "functions", "the most is 200000"},
	})
}

func TestValidateRejectsFiles(t *testing.T) {
	add := func(files ...*orlav1.File) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Site.Files = append(m.Site.Files, files...) }
	}
	with := func(change func(*orlav1.File)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Site.Files[2]) }
	}
	checkRejects(t, []reject{
		{"no slash", add(file("x")), "site.files[x]", `write "/x"`},
		{"no path", add(file("")), "site.files[]", `write "/"`},
		{"the root", add(file("/")), "site.files[/]", "not clean"},
		{"slash at the end", add(file("/x/")), "site.files[/x/]", "not clean"},
		{"empty segment", add(file("/x//y")), "site.files[/x//y]", "not clean"},
		{"dot", add(file("/x/./y")), "site.files[/x/./y]", "not clean"},
		{"dot-dot", add(file("/x/../y")), "site.files[/x/../y]", "not clean"},
		{"backslash", add(file(`/x\y`)), `site.files[/x\y]`, "rename the file"},
		{"NUL", add(file("/x\x00")), "site.files[3]", "rename the file"},
		{"line feed", add(file("/x\ny")), "site.files[3]", "rename the file"},
		{"not UTF-8", add(file("/x\xff")), "site.files[3]", "not UTF-8"},
		{"long", add(file("/" + strings.Repeat("x", 1<<20))), "site.files[3]", "shorten it"},
		{"twice", add(file("/index.html")), "site.files[/index.html]", "twice"},
		{"not sorted", add(file("/b")), "site.files[/b]", "not sorted"},
		{"file and folder", add(file("/x"), file("/x-y"), file("/x/y")), "site.files[/x/y]", "cannot be a folder"},
		{"digest", with(func(f *orlav1.File) { f.Digest = "sha256:ABC" }), "site.files[/index.html]", "not a digest"},
		{"negative size", with(func(f *orlav1.File) { f.Size = -1 }), "site.files[/index.html]", "impossible"},
		{"huge size", with(func(f *orlav1.File) { f.Size = 1 << 62 }), "site.files[/index.html]", "impossible"},
		{"no media type", with(func(f *orlav1.File) { f.MediaType = "" }), "site.files[/index.html]", "not a media type"},
		{"media type", with(func(f *orlav1.File) { f.MediaType = "html" }), "site.files[/index.html]", "not a media type"},
		{"media type with a line feed", with(func(f *orlav1.File) { f.MediaType = "text/html; a=\"\n\"" }), "site.files[/index.html]", "not a media type"},
		{"variants", with(func(f *orlav1.File) { f.Variants = []*orlav1.Variant{{Coding: "br", Digest: digest("v")}} }), "site.files[/index.html]", "must not send variants"},
		{"not found", func(m *orlav1.Manifest) { m.Site.NotFound = 9 }, "site.not_found", "update the node"},
		{"html", func(m *orlav1.Manifest) { m.Site.Html = 9 }, "site.html", "update the node"},
		{"function's file", func(m *orlav1.Manifest) { m.Functions[0].Files[0].Path = "/../x" }, "functions.api.files[/../x]", "not clean"},
	})
}

func TestValidateStored(t *testing.T) {
	m := shop()
	m.Functions[0].Abi = orlav1.Abi_ABI_CGI
	m.Functions[1].Abi = orlav1.Abi_ABI_HTTP_WASM
	m.Site.Files[2].Variants = []*orlav1.Variant{{Coding: "br", Digest: digest("v"), Size: 3}, {Coding: "gzip", Digest: digest("w"), Size: 4}}
	if ps := ValidateStored(m); ps != nil {
		t.Errorf("ValidateStored: %v", ps)
	}
	if ps := Validate(m); len(ps) != 3 {
		t.Errorf("Validate = %v, want three problems", ps)
	}
	program := proto.CloneOf(m)
	program.Functions[1].Abi = orlav1.Abi_ABI_CGI
	if ps := ValidateStored(program); len(ps) != 1 || ps[0].Field != "routes[1].middleware[1]" {
		t.Errorf("ValidateStored with a CGI program as middleware = %v, want one problem of it", ps)
	}
	for _, v := range []*orlav1.Variant{
		{Coding: "deflate", Digest: digest("v")}, {Coding: "zstd", Digest: "x"}, {Coding: "zstd", Digest: digest("v"), Size: -1}, {Coding: "br", Digest: digest("v")},
	} {
		m := proto.CloneOf(m)
		m.Site.Files[2].Variants = append(m.Site.Files[2].Variants, v)
		if ps := ValidateStored(m); len(ps) != 1 {
			t.Errorf("ValidateStored with %v = %v, want one problem", v, ps)
		}
	}
}

func TestValidateRejectsFunctions(t *testing.T) {
	with := func(change func(*orlav1.Function)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Functions[0]) }
	}
	checkRejects(t, []reject{
		{"name", func(m *orlav1.Manifest) {
			m.Functions = append(m.Functions, &orlav1.Function{Name: "x.y", Module: digest("")})
		}, "functions[3]", "inner hyphens"},
		{"name twice", func(m *orlav1.Manifest) { m.Functions = append(m.Functions, m.Functions[0]) }, "functions.api", "rename one"},
		{"module", with(func(f *orlav1.Function) { f.Module = "" }), "functions.api.module", "not a digest"},
		{"module's size", with(func(f *orlav1.Function) { f.ModuleSize = -1 }), "functions.api.module", "impossible"},
		{"source", with(func(f *orlav1.Function) { f.Source = "\x1b[31m" }), "functions.api.source", "leave it out"},
		{"ABI", with(func(f *orlav1.Function) { f.Abi = orlav1.Abi_ABI_CGI }), "functions.api.abi", "leave it out"},
		{"unknown ABI", with(func(f *orlav1.Function) { f.Abi = 99 }), "functions.api.abi", "update the node"},
		{"little memory", with(func(f *orlav1.Function) { f.MemoryBytes = 65535 }), "functions.api.memory", "64KiB to 4GiB"},
		{"negative memory", with(func(f *orlav1.Function) { f.MemoryBytes = -1 }), "functions.api.memory", "64KiB to 4GiB"},
		{"much memory", with(func(f *orlav1.Function) { f.MemoryBytes = 4<<30 + 1 }), "functions.api.memory", "64KiB to 4GiB"},
		{"no time", with(func(f *orlav1.Function) { f.Timeout = durationpb.New(0) }), "functions.api.timeout", "more than 0"},
		{"negative time", with(func(f *orlav1.Function) { f.Timeout = durationpb.New(-1) }), "functions.api.timeout", "more than 0"},
		{"much time", with(func(f *orlav1.Function) { f.Timeout = durationpb.New(time.Hour + 1) }), "functions.api.timeout", "at most 1h"},
		{"impossible time", with(func(f *orlav1.Function) { f.Timeout = &durationpb.Duration{Seconds: 1, Nanos: -1} }), "functions.api.timeout", "at most 1h"},
		{"concurrency", with(func(f *orlav1.Function) { f.Concurrency = 1 << 31 }), "functions.api.concurrency", "1 to 10000"},
		{"variable's name", with(func(f *orlav1.Function) { f.Env = map[string]string{"A=B": ""} }), "functions.api.env", "name of a variable"},
		{"variable's value", with(func(f *orlav1.Function) { f.Env = map[string]string{"A": "\x00"} }), "functions.api.env", "NUL"},
		{"large environment", with(func(f *orlav1.Function) { f.Env = map[string]string{"A": strings.Repeat("a", maxEnv)} }), "functions.api.env", "put what is large into a file"},
		{"argument", with(func(f *orlav1.Function) { f.Args = []string{"a", "\x00"} }), "functions.api.args[1]", "NUL"},
		{"variable's value in Latin-1", with(func(f *orlav1.Function) { f.Env = map[string]string{"A": "\xe9"} }), "functions.api.env", "not UTF-8"},
		{"argument in Latin-1", with(func(f *orlav1.Function) { f.Args = []string{"\xe9"} }), "functions.api.args[0]", "not UTF-8"},
		{"store", with(func(f *orlav1.Function) { f.Kv = []string{"s", "*"} }), "functions.api.kv[1]", "no name of a key-value store"},
		{"store with a dot", with(func(f *orlav1.Function) { f.Kv = []string{"s.t"} }), "functions.api.kv[0]", "no name of a key-value store"},
		{"long store", with(func(f *orlav1.Function) { f.Kv = []string{strings.Repeat("s", 64)} }), "functions.api.kv[0]", "1 to 63"},
		{"store twice", with(func(f *orlav1.Function) { f.Kv = []string{"s", "s"} }), "functions.api.kv[1]", "remove one"},
		{"many stores", with(func(f *orlav1.Function) { f.Kv = make([]string, 17) }), "functions.api.kv", "with a prefix"},
		{"secret", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: "key"}} }), "functions.api.secrets[0]", "upper-case"},
		{"secret with a digit first", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: "1A"}} }), "functions.api.secrets[0]", "a letter first"},
		{"long secret", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: strings.Repeat("A", 65)}} }), "functions.api.secrets[0]", "1 to 64"},
		{"secret twice", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: "A"}, {Name: "A"}} }), "functions.api.secrets[1]", "remove one"},
		{"secret and variable", with(func(f *orlav1.Function) {
			f.Env = map[string]string{"A": ""}
			f.Secrets = []*orlav1.SecretRef{{Name: "A"}}
		}), "functions.api.secrets[0]", "env too"},
		{"secret's version", with(func(f *orlav1.Function) { f.Secrets = []*orlav1.SecretRef{{Name: "A", Version: 1}} }), "functions.api.secrets[0]", "leave it out"},
		{"many secrets", with(func(f *orlav1.Function) { f.Secrets = make([]*orlav1.SecretRef, 65) }), "functions.api.secrets", "into one"},
		{"large arguments", with(func(f *orlav1.Function) { f.Args = []string{strings.Repeat("a", maxArgs)} }), "functions.api.args", "put what is large into a file"},
	})
}

func TestValidateRejectsLimits(t *testing.T) {
	with := func(change func(*orlav1.Function)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Functions[0]) }
	}
	limit := func(change func(*orlav1.Limits)) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { change(m.Functions[0].Limits) }
	}
	const of = "functions.api.limits."
	checkRejects(t, []reject{
		{"no CPU", with(func(f *orlav1.Function) { f.Cpu = durationpb.New(0) }), "functions.api.cpu", "more than 0"},
		{"much CPU", with(func(f *orlav1.Function) { f.Cpu = durationpb.New(time.Hour + 1) }), "functions.api.cpu", "at most 1h"},
		{"isolation", with(func(f *orlav1.Function) { f.Isolation = 99 }), "functions.api.isolation", "update the node"},
		{"little stack", limit(func(l *orlav1.Limits) { l.StackBytes = 64<<10 - 1 }), of + "stack", "64KiB to 64MiB"},
		{"much stack", limit(func(l *orlav1.Limits) { l.StackBytes = 64<<20 + 1 }), of + "stack", "64KiB to 64MiB"},
		{"negative stack", limit(func(l *orlav1.Limits) { l.StackBytes = -1 }), of + "stack", "64KiB to 64MiB"},
		{"table", limit(func(l *orlav1.Limits) { l.TableElements = 100_001 }), of + "table", "1 to 100000"},
		{"huge table", limit(func(l *orlav1.Limits) { l.TableElements = 1<<32 - 1 }), of + "table", "1 to 100000"},
		{"request body", limit(func(l *orlav1.Limits) { l.RequestBodyBytes = 16<<30 + 1 }), of + "request_body", "1B to 16GiB"},
		{"negative request body", limit(func(l *orlav1.Limits) { l.RequestBodyBytes = -1 }), of + "request_body", "1B to 16GiB"},
		{"response body", limit(func(l *orlav1.Limits) { l.ResponseBodyBytes = 16<<30 + 1 }), of + "response_body", "1B to 16GiB"},
		{"log", limit(func(l *orlav1.Limits) { l.LogBytes = 16<<20 + 1 }), of + "log", "1B to 16MiB"},
		{"log rate", limit(func(l *orlav1.Limits) { l.LogLinesPerSecond = 100_001 }), of + "log_rate", "1 to 100000"},
		{"host calls", limit(func(l *orlav1.Limits) { l.HostCalls = 1e9 + 1 }), of + "host_calls", "1 to 1000000000"},
	})
}

func TestValidateAcceptsTheEdgesOfLimits(t *testing.T) {
	for _, l := range []*orlav1.Limits{
		{},
		{StackBytes: 64 << 10, TableElements: 1, RequestBodyBytes: 1, ResponseBodyBytes: 1, LogBytes: 1, LogLinesPerSecond: 1, HostCalls: 1},
		{
			StackBytes: 64 << 20, TableElements: 100_000, RequestBodyBytes: 16 << 30, ResponseBodyBytes: 16 << 30,
			LogBytes: 16 << 20, LogLinesPerSecond: 100_000, HostCalls: 1e9,
		},
	} {
		m := shop()
		m.Functions[0].Limits = l
		if ps := Validate(m); ps != nil {
			t.Errorf("Validate of %v: %v", l, ps)
		}
	}
}

func TestValidateRejectsMiddleware(t *testing.T) {
	names := func(names ...string) func(m *orlav1.Manifest) {
		return func(m *orlav1.Manifest) { m.Routes[0].Middleware = names }
	}
	checkRejects(t, []reject{
		{"unknown", names("log", "auht"), "routes[0].middleware[1]", `there is no function "auht"; did you mean "auth"?`},
		{"its own target", names("api"), "routes[0].middleware[0]", "the route's target already"},
		{"twice", names("auth", "log", "auth"), "routes[0].middleware[2]", `"auth" is there twice`},
		{"many", names(make([]string, maxMiddleware+1)...), "routes[0].middleware", "the most is 16"},
		{"in a route set", func(m *orlav1.Manifest) {
			m.Kind, m.Site, m.Functions, m.Routes = orlav1.Kind_KIND_ROUTES, nil, nil, m.Routes[4:5]
			m.Routes[0].Middleware = []string{"auth"}
		}, "routes[0].middleware", "a route set has no functions of its own"},
	})
}

// A function in front may answer, so that what looks like a loop need not be one.
func TestMiddlewareMayEndALoop(t *testing.T) {
	m := shop()
	m.Routes = append(m.Routes, route("/a", func(r *orlav1.Route) { r.Rewrite = "/a" }))
	if ps := Validate(m); len(ps) != 1 {
		t.Fatalf("Validate = %v, want a loop", ps)
	}
	m.Routes[len(m.Routes)-1].Middleware = []string{"auth"}
	if ps := Validate(m); ps != nil {
		t.Errorf("Validate = %v, want nothing", ps)
	}
}

func TestValidateReportsAllUpToALimit(t *testing.T) {
	m := shop()
	m.Name = "!"
	m.Functions[0].Timeout = durationpb.New(0)
	m.Routes[3].GetRedirect().Status = 200
	if ps := Validate(m); len(ps) != 3 {
		t.Errorf("Validate = %v, want three problems", ps)
	} else if want := "name: "; !strings.HasPrefix(ps.Error(), want) || strings.Count(ps.Error(), "\n") != 2 {
		t.Errorf("Error() = %q, want three lines that begin with the field", ps.Error())
	}
	m.Site.Files = nil
	for i := range 1000 {
		m.Site.Files = append(m.Site.Files, file(fmt.Sprintf("x%04d", i)))
	}
	ps := Validate(m)
	if len(ps) != maxProblems+1 || !strings.Contains(ps[maxProblems].Message, "there are 903 more") {
		t.Errorf("Validate reports %d problems, the last of them %v", len(ps), ps[len(ps)-1])
	}
}
