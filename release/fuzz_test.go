package release

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// checkAccepted checks what holds of any manifest, and of what Validate accepts.
func checkAccepted(t *testing.T, m *orlav1.Manifest) {
	ps := Validate(m)
	if len(ps) > maxProblems+1 {
		t.Errorf("Validate reports %d problems", len(ps))
	}
	for _, p := range ps {
		if p.Message == "" || len(p.Message) > 4000 || len(p.Field) > 4096 || !printable(p.Field) {
			t.Errorf("Validate reports %.200q of %.200q", p.Message, p.Field)
		}
	}
	Summary(m)
	for range Digests(m) {
	}
	trees, err := Trees(m)
	if ps != nil {
		return
	}
	if err != nil {
		t.Fatalf("Validate accepts what Trees does not: %v", err)
	}
	for _, h := range m.GetHosts() {
		tree, index := trees.Tree(h)
		if tree == nil {
			t.Fatalf("host %q has no tree", h)
		}
		for _, path := range []string{"/", "/api/x", "/legacy/7", "/old//evil.example", "/gone"} {
			match := tree.Match(&router.Request{Method: "GET", Path: path, RawQuery: "v=2"})
			if match.Index >= 0 {
				expand(t, m.GetRoutes()[index[match.Index]], &match)
			}
		}
	}
	encoded, d, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(encoded)
	if err != nil || !proto.Equal(decoded, m) {
		t.Fatalf("Decode(Encode(m)) = %v, %v, want m", decoded, err)
	}
	if _, again, _ := Encode(decoded); again != d {
		t.Errorf("Encode = %s, then %s", d, again)
	}
}

// expand makes what a node makes of a route that matched.
func expand(t *testing.T, r *orlav1.Route, m *router.Match) {
	p, err := router.ParsePattern(r.GetMatch().GetPath())
	if err != nil {
		p = router.Pattern{}
	}
	for _, to := range []string{r.GetRewrite(), r.GetRedirect().GetTo()} {
		if to == "" {
			continue
		}
		template, err := router.ParseTemplate(to, p.Names())
		if err != nil {
			t.Fatalf("Validate accepts the target %q: %v", to, err)
		}
		out := template.Expand(m)
		if strings.HasPrefix(out, "//") || strings.ContainsAny(out, "\r\n\x00") {
			t.Errorf("target %q expands to %q", to, out)
		}
	}
}

// FuzzManifest has a stranger send any bytes.
func FuzzManifest(f *testing.F) {
	b, _, err := Encode(shop())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Decode(b); err == nil {
			checkAccepted(t, m)
		}
	})
}

// FuzzManifestJSON is FuzzManifest with a form that a fuzzer changes more
// meaningfully.
func FuzzManifestJSON(f *testing.F) {
	b, err := protojson.Marshal(shop())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, path := range []string{"/a", "/{x}/b", "/a/*"} {
		f.Add(fmt.Appendf(nil, `{"name":"e","kind":2,"hosts":["*","*.a","b.a"],"routes":[{"match":{"path":%q,"hosts":["*.a"]},"rewrite":"/:x"},{"respond":{"status":200}}]}`, path))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(orlav1.Manifest)
		if protojson.Unmarshal(b, m) == nil {
			checkAccepted(t, m)
		}
	})
}

// FuzzRoute puts a stranger's texts into one route.
func FuzzRoute(f *testing.F) {
	f.Add("/a/{id}/*", "/b/:splat/:id", "https://new.example/:splat", "http://10.0.0.5:8080", "X-A", "1", "GET", "a.example", "*.example")
	f.Add("/a", "/b", "/x", "http://a.example", "A", "\xe9", "GET", "a.example", "")
	f.Add("/a", "/b?c=d", "/x", "https://[::1]:8443/x", "a", "", "PURGE", "*", "a.example")
	f.Fuzz(func(t *testing.T, path, rewrite, redirect, upstream, name, value, method, host, narrow string) {
		m := &orlav1.Manifest{Name: "edge", Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{host}, Routes: []*orlav1.Route{
			{Match: &orlav1.Match{Path: path, Methods: []string{method}}, Rewrite: rewrite},
			{Match: &orlav1.Match{Path: path, Headers: []*orlav1.Condition{{Name: name, Value: value}}}, Target: &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: redirect, Status: 302}}},
			{Match: &orlav1.Match{Path: path, Query: []*orlav1.Condition{{Name: name, Value: value}}}, Target: &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{upstream}, Health: path}}},
			{Match: &orlav1.Match{Path: path}, Headers: &orlav1.HeaderChanges{Add: []*orlav1.Field{{Name: name, Value: value}}}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200}}},
		}}
		if narrow != "" {
			m.Hosts = append(m.Hosts, narrow)
			m.Routes[3].Match.Hosts = []string{narrow}
		}
		checkAccepted(t, m)
	})
}
