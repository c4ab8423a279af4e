package control

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestRoles(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	token := func(role orlav1.Role, apps ...string) string {
		res, err := p.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "t", Role: role, Apps: apps}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.GetSecret()
	}
	viewer, deployer, admin := token(orlav1.Role_ROLE_VIEWER), token(orlav1.Role_ROLE_DEPLOYER, "shop"), token(orlav1.Role_ROLE_ADMIN)
	const none, ok = connect.CodeUnauthenticated, connect.Code(0)
	const denied = connect.CodePermissionDenied
	calls := []struct {
		name string
		call func(secret string) error
		want map[string]connect.Code // by token; admins may do all
	}{
		{"list", func(s string) error {
			_, err := p.as(s).ListApps(t.Context(), connect.NewRequest(&orlav1.ListAppsRequest{}))
			return err
		}, map[string]connect.Code{"": none, "orla_guess": none, viewer: ok, deployer: ok, admin: ok}},
		{"deploy its own", func(s string) error {
			_, err := runDeploy(t, p.as(s), &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", "v2")})
			return err
		}, map[string]connect.Code{"": none, "orla_guess": none, viewer: denied, deployer: ok, admin: ok}},
		{"deploy another", func(s string) error {
			_, err := runDeploy(t, p.as(s), &orlav1.DeployRequest{Manifest: answering("blog", "blog.test", "v1")})
			return err
		}, map[string]connect.Code{viewer: denied, deployer: denied, admin: ok}},
		{"roll another back", func(s string) error {
			_, err := p.as(s).Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "blog"}))
			return err
		}, map[string]connect.Code{viewer: denied, deployer: denied}},
		{"remove another", func(s string) error {
			_, err := p.as(s).RemoveApp(t.Context(), connect.NewRequest(&orlav1.RemoveAppRequest{Name: "blog"}))
			return err
		}, map[string]connect.Code{viewer: denied, deployer: denied}},
		{"make tokens", func(s string) error {
			_, err := p.as(s).CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "x", Role: orlav1.Role_ROLE_ADMIN}))
			return err
		}, map[string]connect.Code{"": none, viewer: denied, deployer: denied, admin: ok}},
	}
	for _, c := range calls {
		for secret, want := range c.want {
			err := c.call(secret)
			if want == ok && err == nil {
				continue
			}
			if err == nil || connect.CodeOf(err) != want {
				t.Errorf("%s with token %q: %v, want %v", c.name, secret, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "orla_") {
				t.Errorf("%s: the error shows a secret: %v", c.name, err)
			}
		}
	}
}

func TestRevokedTokenEnds(t *testing.T) {
	p := newPlane(t)
	made, err := p.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "ci", Role: orlav1.Role_ROLE_VIEWER}))
	if err != nil {
		t.Fatal(err)
	}
	c := p.as(made.Msg.GetSecret())
	if _, err := c.GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{})); err != nil {
		t.Fatal(err)
	}
	list, err := p.admin().ListTokens(t.Context(), connect.NewRequest(&orlav1.ListTokensRequest{}))
	if err != nil || len(list.Msg.GetTokens()) != 1 || len(list.Msg.GetTokens()[0].GetHash()) != 0 {
		t.Fatalf("ListTokens = %v, %v, want one token without its hash", list, err)
	}
	if _, err := p.admin().RevokeToken(t.Context(), connect.NewRequest(&orlav1.RevokeTokenRequest{Id: made.Msg.GetToken().GetId()})); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
	refused(t, "revoked token", err, connect.CodeUnauthenticated)
	_, err = p.admin().RevokeToken(t.Context(), connect.NewRequest(&orlav1.RevokeTokenRequest{Id: "nope"}))
	refused(t, "revoke again", err, connect.CodeNotFound, "orla token list")
}

func TestDeployRollbackRemove(t *testing.T) {
	p := newPlane(t)
	first := p.mustDeploy("shop", "shop.test", "v1")
	if first.GetRelease() != 1 || p.get("http://shop.test/") != "v1" {
		t.Fatalf("first deploy: %v, served %q", first, p.get("http://shop.test/"))
	}
	again := p.mustDeploy("shop", "shop.test", "v1")
	if !again.GetUnchanged() || again.GetRelease() != 1 {
		t.Errorf("the same content again: %v, want unchanged release 1", again)
	}
	p.mustDeploy("shop", "shop.test", "v2")
	back, err := p.admin().Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "shop"}))
	if err != nil || back.Msg.GetLive().GetRelease() != 1 || back.Msg.GetFrom() != 2 || p.get("http://shop.test/") != "v1" {
		t.Fatalf("rollback: %v, %v, served %q", back, err, p.get("http://shop.test/"))
	}
	// A release that follows a rollback gets a number of its own.
	if live := p.mustDeploy("shop", "shop.test", "v3"); live.GetRelease() != 3 {
		t.Errorf("release after a rollback = %d, want 3", live.GetRelease())
	}
	app, err := p.admin().GetApp(t.Context(), connect.NewRequest(&orlav1.GetAppRequest{Name: "shop"}))
	if err != nil || len(app.Msg.GetApp().GetHead().GetReleases()) != 3 {
		t.Errorf("history: %v, %v, want three releases", app, err)
	}
	if _, err := p.admin().RemoveApp(t.Context(), connect.NewRequest(&orlav1.RemoveAppRequest{Name: "shop"})); err != nil {
		t.Fatal(err)
	}
	if got := p.get("http://shop.test/"); got != "nothing is served under this name" {
		t.Errorf("after remove: %q", got)
	}
	// Its host is free again.
	p.mustDeploy("other", "shop.test", "other")
}

func TestDryRunChangesNothing(t *testing.T) {
	p := newPlane(t)
	res, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", "v1"), DryRun: true})
	if err != nil || res.GetChecked() == nil {
		t.Fatalf("dry run: %v, %v", res, err)
	}
	list, err := p.admin().ListApps(t.Context(), connect.NewRequest(&orlav1.ListAppsRequest{}))
	if err != nil || len(list.Msg.GetApps()) != 0 {
		t.Errorf("after a dry run: %v, %v", list, err)
	}
	// It refuses what a deploy would.
	p.mustDeploy("blog", "blog.test", "x")
	_, err = runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: answering("shop", "blog.test", "v1"), DryRun: true})
	refused(t, "dry run of a taken host", err, connect.CodeInvalidArgument, "blog")
}

func TestHostBelongsToOneApp(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "shop")
	p.mustDeploy("rest", "*", "rest")
	_, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: answering("thief", "shop.test", "stolen")})
	refused(t, "taken host", err, connect.CodeInvalidArgument, `"shop.test"`, `"shop"`)
	_, err = runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: answering("thief", "*", "stolen")})
	refused(t, "taken catch-all", err, connect.CodeInvalidArgument, `"rest"`, "--host")
	if got := p.get("http://shop.test/"); got != "shop" {
		t.Errorf("shop.test = %q", got)
	}
	// shop moves: its old host is free, its new one is taken.
	p.mustDeploy("shop", "new.test", "shop")
	p.mustDeploy("heir", "shop.test", "heir")
	_, err = p.admin().Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "shop"}))
	refused(t, "rollback to a host that has gone", err, connect.CodeInvalidArgument, `"heir"`)
	if got := p.get("http://new.test/"); got != "shop" {
		t.Errorf("after the refused rollback new.test = %q", got)
	}
}

func TestDeployRefusals(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	file := &orlav1.File{Path: "/index.html", Digest: modules.Sum([]byte("absent")).String(), Size: 6, MediaType: "text/html"}
	absent := &orlav1.Manifest{
		Name: "site", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"site.test"}, Site: &orlav1.Site{Files: []*orlav1.File{file}},
		Routes: []*orlav1.Route{{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Site{Site: true}}},
	}
	garbage, err := p.blobs.Put([]byte("<!doctype html>"))
	if err != nil {
		t.Fatal(err)
	}
	broken := &orlav1.Manifest{
		Name: "fn", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"fn.test"},
		Functions: []*orlav1.Function{{Name: "api", Module: garbage.String(), ModuleSize: 15, Source: "api.wasm"}},
		Routes:    []*orlav1.Route{{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Function{Function: "api"}}},
	}
	app := answering("shop", "shop.test", "v1")
	app.Kind = orlav1.Kind_KIND_APP
	seven := uint64(7)
	for _, tt := range []struct {
		name  string
		req   *orlav1.DeployRequest
		code  connect.Code
		parts []string
	}{
		{"no manifest", &orlav1.DeployRequest{}, connect.CodeInvalidArgument, nil},
		{"content not uploaded", &orlav1.DeployRequest{Manifest: absent}, connect.CodeInvalidArgument, []string{"site.files[/index.html]", "deploy again"}},
		{"not wasm", &orlav1.DeployRequest{Manifest: broken}, connect.CodeInvalidArgument, []string{"functions.api.module"}},
		{"kind", &orlav1.DeployRequest{Manifest: app}, connect.CodeInvalidArgument, []string{"route set"}},
		{"expected release", &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", "v2"), ExpectLive: &seven}, connect.CodeAborted, []string{"release 1", "not 7"}},
		{"long message", &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", "v2"), Message: strings.Repeat("x", 2000)}, connect.CodeInvalidArgument, []string{"2000"}},
	} {
		_, err := runDeploy(t, p.admin(), tt.req)
		refused(t, tt.name, err, tt.code, tt.parts...)
	}
	if got := p.get("http://shop.test/"); got != "v1" {
		t.Errorf("after all refusals shop.test = %q", got)
	}
	// The problems come as data too, for the CLI to name file and line.
	_, err = runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: absent})
	var ce *connect.Error
	if !errors.As(err, &ce) || len(ce.Details()) != 1 {
		t.Fatalf("details of %v", err)
	}
	detail, err := ce.Details()[0].Value()
	if ps, ok := detail.(*orlav1.Problems); err != nil || !ok || ps.GetProblems()[0].GetField() != "site.files[/index.html]" {
		t.Errorf("detail = %v, %v", detail, err)
	}
}

func TestUploadRefusals(t *testing.T) {
	p := newPlane(t)
	digest := modules.Sum([]byte("hello")).String()
	for _, tt := range []struct {
		name   string
		pieces []*orlav1.UploadBlobsRequest
		part   string
	}{
		{"other content", []*orlav1.UploadBlobsRequest{{Digest: digest, Data: []byte("hullo"), Last: true}}, "deploy again"},
		{"no digest", []*orlav1.UploadBlobsRequest{{Data: []byte("hello"), Last: true}}, "belongs to no blob"},
		{"bad digest", []*orlav1.UploadBlobsRequest{{Digest: "md5:1", Data: []byte("hello"), Last: true}}, "not a digest"},
		{"cut off", []*orlav1.UploadBlobsRequest{{Digest: digest, Data: []byte("he")}}, "ended inside a blob"},
		{"nested", []*orlav1.UploadBlobsRequest{{Digest: digest, Data: []byte("he")}, {Digest: digest, Data: []byte("llo"), Last: true}}, "before the one before it ended"},
	} {
		stream := p.admin().UploadBlobs(t.Context())
		for _, piece := range tt.pieces {
			_ = stream.Send(piece) // the refusal may come first; it is read below
		}
		_, err := stream.CloseAndReceive()
		refused(t, tt.name, err, connect.CodeInvalidArgument, tt.part)
	}
	if p.blobs.Has(modules.Sum([]byte("hello"))) {
		t.Error("a refused upload was kept")
	}
	// What came whole before the refusal is kept.
	stream := p.admin().UploadBlobs(t.Context())
	_ = stream.Send(&orlav1.UploadBlobsRequest{Digest: digest, Data: []byte("hello"), Last: true})
	_ = stream.Send(&orlav1.UploadBlobsRequest{Data: []byte("x")})
	if _, err := stream.CloseAndReceive(); err == nil || !p.blobs.Has(modules.Sum([]byte("hello"))) {
		t.Errorf("upload with a bad end: %v; the good blob is kept: %v", err, p.blobs.Has(modules.Sum([]byte("hello"))))
	}
}

// TestConcurrentDeploys pushes at once: one wins each round, the others are told
// of a conflict, and what is served is what the last acknowledged one said.
func TestConcurrentDeploys(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "start")
	const racers = 8
	var wg sync.WaitGroup
	var mu sync.Mutex // guards won and highest
	won, highest := map[uint64]string{}, uint64(0)
	c := p.admin()
	for i := range racers {
		wg.Go(func() {
			body := strings.Repeat("x", i+1)
			res, err := runDeploy(t, c, &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", body)})
			if err != nil {
				refused(t, "a racer", err, connect.CodeAborted, "meanwhile", "admin")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other := won[res.GetLive().GetRelease()]; other != "" {
				t.Errorf("release %d was acknowledged twice", res.GetLive().GetRelease())
			}
			won[res.GetLive().GetRelease()] = body
			highest = max(highest, res.GetLive().GetRelease())
		})
	}
	wg.Wait()
	if len(won) == 0 {
		t.Fatal("nobody won")
	}
	if got := p.get("http://shop.test/"); got != won[highest] {
		t.Errorf("served %q, want %q of release %d", got, won[highest], highest)
	}
}

func TestRollbackRefusals(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	for _, tt := range []struct {
		name    string
		app     string
		release uint64
		code    connect.Code
		part    string
	}{
		{"no app", "shp", 0, connect.CodeNotFound, `did you mean "shop"?`},
		{"nothing before", "shop", 0, connect.CodeFailedPrecondition, "none before it"},
		{"no such release", "shop", 9, connect.CodeNotFound, "1 to 1"},
		{"live already", "shop", 1, connect.CodeFailedPrecondition, "live already"},
	} {
		_, err := p.admin().Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: tt.app, Release: tt.release}))
		refused(t, tt.name, err, tt.code, tt.part)
	}
}

func TestRoutesAndExplain(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	list, err := p.admin().ListRoutes(t.Context(), connect.NewRequest(&orlav1.ListRoutesRequest{}))
	if err != nil || len(list.Msg.GetRoutes()) != 1 || list.Msg.GetRoutes()[0].GetHost() != "shop.test" {
		t.Errorf("ListRoutes = %v, %v", list, err)
	}
	res, err := p.admin().ExplainRoute(t.Context(), connect.NewRequest(&orlav1.ExplainRouteRequest{Url: "https://shop.test/a/../b"}))
	if err != nil || res.Msg.GetName() != "shop" || res.Msg.GetPath() != "/b" || res.Msg.GetStatus() != 200 {
		t.Errorf("ExplainRoute = %v, %v", res, err)
	}
	for _, url := range []string{"/only/a/path", "http://shop.test/%2e%2e/x", "::"} {
		if _, err := p.admin().ExplainRoute(t.Context(), connect.NewRequest(&orlav1.ExplainRouteRequest{Url: url})); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("ExplainRoute(%q) = %v, want an invalid argument", url, err)
		}
	}
}
