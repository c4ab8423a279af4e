package app_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/app"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestFormat(t *testing.T) {
	m := &orlav1.Manifest{
		Name: "edge", Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{"a.example", "*.b.example"},
		Routes: []*orlav1.Route{
			{
				Match: &orlav1.Match{
					Path: "/legacy/*", Methods: []string{"GET", "POST"}, Hosts: []string{"a.example"},
					Headers: []*orlav1.Condition{{Name: "X-Beta", Value: "1"}},
					Query:   []*orlav1.Condition{{Name: "odd \"name\"", Value: "v\n\t\x7f\\"}},
				},
				Target:         &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{"http://10.0.0.5:8080"}, Health: "/healthz", Timeout: durationpb.New(90 * time.Second)}},
				RequestHeaders: &orlav1.HeaderChanges{Remove: []string{"Cookie"}},
			},
			{
				Match: &orlav1.Match{}, Target: &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: "https://c.example/:splat", Status: 301}},
			},
			{
				Match: &orlav1.Match{Path: "/gone"}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 410, Body: "größer", MediaType: "text/html"}},
				Headers: &orlav1.HeaderChanges{
					Set: []*orlav1.Field{{Name: "X-A", Value: "1"}},
					Add: []*orlav1.Field{{Name: "Vary", Value: "A"}, {Name: "Vary", Value: "B"}, {Name: "X-C", Value: "3"}},
				},
			},
			{Match: &orlav1.Match{Path: "/a/*", ClientCert: "spiffe://example.com/billing"}, Rewrite: "/b/:splat"},
		},
		Tls: &orlav1.Tls{
			Redirect: new(false), OnDemand: true, ClientCa: []string{clientCA(t), clientCA(t)},
			Hsts: &orlav1.Hsts{MaxAge: durationpb.New(90 * time.Minute), IncludeSubdomains: true},
		},
	}
	text, err := app.Format(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "routes.toml")
	write(t, path, string(text))
	p, err := app.Routes(path)
	if err != nil {
		t.Fatalf("Routes of what Format wrote: %v\n%s", err, text)
	}
	for _, r := range p.Manifest.GetRoutes() {
		r.Source = ""
	}
	if diff := cmp.Diff(m, p.Manifest, protocmp.Transform()); diff != "" {
		t.Errorf("read again it differs, - written + read:\n%s\n%s", diff, text)
	}
}

func TestFormatOfAnApp(t *testing.T) {
	text, err := app.Format(&orlav1.Manifest{Name: "shop", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"}, Routes: []*orlav1.Route{{
		Match: &orlav1.Match{Path: "/a"}, Target: &orlav1.Route_Function{Function: "api"}, Middleware: []string{"log", "auth"},
	}}})
	const want = "# The routes of app \"shop\", as [[routes]] of its orla.toml.\nname = \"shop\"\nhosts = [\"*\"]\n\n" +
		"[[routes]]\nmatch = { path = \"/a\" }\nfunction = \"api\"\nmiddleware = [\"log\", \"auth\"]\n"
	if err != nil || string(text) != want {
		t.Errorf("Format = %v\n%s\nwant\n%s", err, text, want)
	}
}

func TestFormatRefusesWhatTheFileCannotSay(t *testing.T) {
	m := &orlav1.Manifest{Name: "edge", Routes: []*orlav1.Route{{
		Match: &orlav1.Match{Path: "/x", Query: []*orlav1.Condition{{Name: "v", Value: "1"}, {Name: "v", Value: "2"}}},
	}}}
	if _, err := app.Format(m); err == nil || !strings.Contains(err.Error(), `write route 1 (/x): "v" is there twice in query`) {
		t.Errorf("Format says %v", err)
	}
}

// FuzzRoutes holds that no text panics, that all problems have a message and a
// line of the text, and that what is accepted can be written and read again.
func FuzzRoutes(f *testing.F) {
	for _, seed := range []string{
		"name = 'edge'\nhosts = ['a.example']\n[[routes]]\nmatch = { path = '/x', methods = ['GET'], headers = { A = '1' }, query = { v = '2' } }\nproxy = { to = ['http://127.0.0.1:1'], timeout = '1s' }\n",
		"name = 'edge'\n[[routes]]\nredirect = { to = '/y' }\n[[routes]]\nmatch.path = '/z'\nrewrite = '/x'\nheaders.add = { Vary = ['a', 'b'] }\n",
		"name = 'edge'\nroutes = [{ match = { path = '/é' }, respond = { status = 404, body = \"\\u0001\", type = 'x' } }]",
		"name = 1\n[routes]\nkv = 1\nfunction = 2",
		"name = 'edge'\ntls = { redirect = true, hsts = { max_age = '180d' }, on_demand = true, client_ca = ['ca.pem', '-----BEGIN '] }\n[[routes]]\nmatch.client_cert = '*'\nrespond = {}",
		"name = 'edge'\n[tls]\nhsts = { max_age = '0s' }\nclient_ca = [\"\"\"\n" + clientCA(f) + "\"\"\"]\n[[routes]]\nmatch.client_cert = 'a'\nrespond = {}",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "routes.toml")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, path, text)
		p, err := app.Routes(path)
		if err != nil {
			for _, problem := range problemsOf(t, err) {
				if problem.Message == "" || problem.Line < 0 || problem.Line > strings.Count(text, "\n")+1 {
					t.Errorf("%q: problem %+v", text, problem)
				}
			}
			return
		}
		written, err := app.Format(p.Manifest)
		if err != nil {
			t.Fatalf("%q: Format of what was accepted: %v", text, err)
		}
		write(t, path, string(written))
		again, err := app.Routes(path)
		if err != nil {
			t.Fatalf("%q written as\n%s\nis refused: %v", text, written, err)
		}
		for _, m := range []*orlav1.Manifest{p.Manifest, again.Manifest} {
			for _, r := range m.GetRoutes() {
				r.Source = ""
			}
		}
		if !proto.Equal(p.Manifest, again.Manifest) {
			t.Errorf("%q\nwritten as\n%s\ndiffers", text, written)
		}
	})
}

// FuzzCheck holds that no orla.toml panics and that all problems have a message.
func FuzzCheck(f *testing.F) {
	f.Add("name = 'shop'\n[site]\n[functions.a]\nmodule = 'a.wasm'\nroutes = ['/a', 'GET /b']\nfiles = 'public'\n[[routes]]\nmatch.path = '/c'\nfunction = 'a'\n")
	f.Add("name = 'shop'\nhosts = ['*']\n[build]\ncommand = 'make'\n[functions.'a.b']\nmodule = '..'\nmemory = '1MiB'\nroutes = ['x']\n[functions.b]\nfiles = '/'\n")
	f.Add("site = { dir = '.', html = 'none' }\nfunctions.a.kv = []\nroutes = [{ cache = {} }]")
	dir := tree(f, map[string]string{"a.wasm": moduleBytes, "public/index.html": "x"})
	f.Fuzz(func(t *testing.T, text string) {
		write(t, filepath.Join(dir, "orla.toml"), text)
		err := app.Check(t.Context(), dir)
		if err == nil {
			return
		}
		for _, problem := range problemsOf(t, err) {
			if problem.Message == "" || problem.File == "" || problem.Line > strings.Count(text, "\n")+1 {
				t.Errorf("%q: problem %+v", text, problem)
			}
		}
	})
}

func problemsOf(t *testing.T, err error) app.Problems {
	t.Helper()
	problems, ok := errors.AsType[app.Problems](err)
	if !ok {
		t.Fatalf("%v are no problems", err)
	}
	return problems
}

func TestSchema(t *testing.T) {
	for name, schema := range map[string]func() ([]byte, error){"orla.toml": app.Schema, "routes.toml": app.RoutesSchema} {
		text, err := schema()
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Properties           map[string]json.RawMessage
			AdditionalProperties *bool
			Defs                 map[string]struct {
				Properties           map[string]struct{ Description string }
				AdditionalProperties json.RawMessage
			} `json:"$defs"`
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("schema of %s: %v", name, err)
		}
		if s.AdditionalProperties == nil || *s.AdditionalProperties || s.Properties["routes"] == nil {
			t.Errorf("schema of %s allows unknown keys or has no routes", name)
		}
		for def, d := range s.Defs {
			if len(d.Properties) > 0 && string(d.AdditionalProperties) != "false" {
				t.Errorf("schema of %s: %s allows unknown keys", name, def)
			}
			for key, p := range d.Properties {
				if p.Description == "" {
					t.Errorf("schema of %s: %s of %s has no description", name, key, def)
				}
			}
		}
	}
}
