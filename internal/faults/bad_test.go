//go:build linux

package faults

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/guests/hostile"
	"github.com/orla-edge/orla/internal/lab"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// bad is a release that is wrong in one way.
type bad struct {
	name   string
	change func(m *orlav1.Manifest)
	// says is part of the error: the cause, for who has to mend it.
	says string
	blob []byte // uploaded before
	live uint64 // what the push expects to be live; 0: whatever is
}

const good = "the good release"

// goodModule is a function that can be loaded. It is made once: all of the hostile ones
// are made with it.
var goodModule = sync.OnceValue(func() []byte { return hostile.Of(hostile.Survives)[0].Wasm })

// goodManifest is a release with something of everything, that is live when the bad ones come.
func goodManifest() *orlav1.Manifest {
	file := func(path string) *orlav1.File {
		return &orlav1.File{Path: path, Digest: modules.Sum([]byte(good)).String(), Size: int64(len(good)), MediaType: "text/plain; charset=utf-8"}
	}
	respond := func(path string) *orlav1.Route {
		return &orlav1.Route{
			Match: &orlav1.Match{Path: path}, Source: "orla.toml:9", Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200, Body: good}},
		}
	}
	return &orlav1.Manifest{
		Name: "target", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"target.test", "*.target.test"},
		Site: &orlav1.Site{Files: []*orlav1.File{file("/b.txt"), file("/index.html")}, NotFound: orlav1.NotFound_NOT_FOUND_PAGE, Html: orlav1.Html_HTML_AUTO},
		Functions: []*orlav1.Function{{
			Name: "api", Module: modules.Sum(goodModule()).String(), ModuleSize: int64(len(goodModule())), Source: "api.wasm", MemoryBytes: 64 << 20,
		}},
		Routes: []*orlav1.Route{
			{Match: &orlav1.Match{Path: "/api/*"}, Source: "orla.toml:7", Target: &orlav1.Route_Function{Function: "api"}},
			respond("/fixed"),
			{Match: &orlav1.Match{Path: "/up/{id}"}, Source: "orla.toml:12", Target: &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{"http://10.0.0.5:8080/base"}}}},
			respond("/"),
		},
	}
}

// TestBadReleases: two hundred releases, each wrong in another way, are pushed by way of
// all nodes in turn. Each is refused whole: no node is at another revision or serves
// another byte, and the error says what is wrong.
func TestBadReleases(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	s.upload([]byte(good), goodModule())
	if _, err := deploy(t.Context(), s.clients[s.Nodes[0]], &orlav1.DeployRequest{Manifest: goodManifest()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.push(t.Context(), s.Nodes[1], "taken", "taken", nil); err != nil {
		t.Fatal(err)
	}
	s.converged()
	kinds := slices.Concat(badNames(), badHosts(), badFiles(), badFunctions(), badMatches(), badTargets(), badProxies(), badHeaders(), badTogether(), badModules())
	if len(kinds) < 200 {
		t.Errorf("there are %d kinds of bad releases, want 200", len(kinds))
	}
	before := s.states()
	seen := map[string]bool{}
	for i, b := range kinds {
		if seen[b.name] {
			t.Errorf("two kinds are called %q", b.name)
		}
		seen[b.name] = true
		begin := time.Now()
		s.refused(s.Nodes[i%len(s.Nodes)], b)
		if took := time.Since(begin); took > 3*time.Second {
			t.Logf("%s: refused after %s", b.name, took.Round(time.Millisecond))
		}
		if i%10 != 0 && i != len(kinds)-1 && !t.Failed() { // a revision that rises does not fall again
			continue
		}
		if now := s.states(); !slices.Equal(now, before) {
			t.Fatalf("after %s: the nodes were %q and are %q", b.name, before, now)
		}
	}
	t.Logf("%d kinds", len(kinds))
	s.finish()
}

// states is what each node serves, and at which revision.
func (s *scene) states() []string {
	s.t.Helper()
	var out []string
	for _, n := range s.Nodes {
		res, err := s.node(s.t.Context(), n)
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s at %d, refuses %d: %s, %s", n.Name, res.GetRevision(), len(res.GetRefusals()), s.serves(n, "target"), s.serves(n, "taken")))
	}
	return out
}

// refused pushes a bad release and checks what comes of it.
func (s *scene) refused(n *lab.Node, b bad) {
	s.t.Helper()
	m := goodManifest()
	if b.blob != nil {
		s.upload(b.blob)
		m.Functions[0].Module, m.Functions[0].ModuleSize = modules.Sum(b.blob).String(), int64(len(b.blob))
	}
	b.change(m)
	req := &orlav1.DeployRequest{Manifest: m}
	if b.live != 0 {
		req.ExpectLive = &b.live
	}
	live, err := deploy(s.t.Context(), s.clients[n], req)
	switch code := connect.CodeOf(err); {
	case err == nil:
		s.t.Errorf("%s: is live as release %d of %s", b.name, live.GetRelease(), live.GetName())
	case code != connect.CodeInvalidArgument && code != connect.CodeFailedPrecondition && code != connect.CodeAborted:
		s.t.Errorf("%s: %v: %.500v", b.name, code, err)
	case !strings.Contains(err.Error(), b.says):
		s.t.Errorf("%s: the error is\n%.1000v\nwhich does not say %q", b.name, err, b.says)
	}
}

// upload gives all hubs content.
func (s *scene) upload(blobs ...[]byte) {
	s.t.Helper()
	for _, n := range s.hubs() {
		if err := upload(s, s.clients[n], blobs); err != nil {
			s.t.Fatal(err)
		}
	}
}

func upload(s *scene, c *client.Client, blobs [][]byte) error {
	stream := c.Control().UploadBlobs(s.t.Context())
	for _, b := range blobs {
		const piece = 1 << 20
		for at := 0; at == 0 || at < len(b); at += piece {
			req := &orlav1.UploadBlobsRequest{Data: b[at:min(at+piece, len(b))], Last: at+piece >= len(b)}
			if at == 0 {
				req.Digest = modules.Sum(b).String()
			}
			if err := stream.Send(req); err != nil {
				break // CloseAndReceive says why
			}
		}
	}
	_, err := stream.CloseAndReceive()
	return err
}

// badModules are modules that no function can be made of: hostile ones, and the good one
// cut off and damaged.
func badModules() []bad {
	nothing := func(*orlav1.Manifest) {}
	var all []bad
	for _, m := range hostile.Of(hostile.Refused) {
		all = append(all, bad{name: "module: " + m.Name, change: nothing, says: "functions.api", blob: m.Wasm})
	}
	module := goodModule()
	for i := range 12 {
		at := 1 + i*(len(module)-2)/11
		all = append(all, bad{name: fmt.Sprintf("module cut off at %d", at), change: nothing, says: "functions.api", blob: module[:at]})
	}
	magic, version := bytes.Clone(module), bytes.Clone(module)
	magic[1], version[4] = 'b', 9
	return append(all,
		bad{name: "module with another magic", change: nothing, says: "functions.api", blob: magic},
		bad{name: "module of another version", change: nothing, says: "functions.api", blob: version},
		bad{name: "module with more after its end", change: nothing, says: "functions.api", blob: append(bytes.Clone(module), 0xff, 0xff)},
		bad{name: "module that is a text", change: nothing, says: "functions.api", blob: []byte(good + ", but no module")},
	)
}

// rows are kinds that differ in one value.
func rows[T any](what, says string, change func(m *orlav1.Manifest, v T), values ...T) []bad {
	var all []bad
	for _, v := range values {
		all = append(all, bad{name: fmt.Sprintf("%s %.60q", what, fmt.Sprint(v)), says: says, change: func(m *orlav1.Manifest) { change(m, v) }})
	}
	return all
}

// row is a kind of its own.
func row(name, says string, change func(m *orlav1.Manifest)) bad {
	return bad{name: name, says: cmp.Or(says, name), change: change}
}

// repeated is a manifest's part so many times.
func repeated[T proto.Message](n int, v T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}
