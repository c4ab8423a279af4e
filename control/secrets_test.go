package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
	"github.com/orla-edge/orla/seal"
)

// keeper is the manifest of an app whose one function is granted a store and secrets.
func (p *plane) keeper(name string, secrets ...string) *orlav1.Manifest {
	f := p.function("api", "kv.c")
	f.Kv = []string{"s"}
	for _, secret := range secrets {
		f.Secrets = append(f.Secrets, &orlav1.SecretRef{Name: secret})
	}
	return &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_APP, Hosts: []string{name + ".test"}, Functions: []*orlav1.Function{f},
		Routes: []*orlav1.Route{{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Function{Function: "api"}}},
	}
}

func (p *plane) mustDeployManifest(m *orlav1.Manifest) *orlav1.Live {
	p.t.Helper()
	res, err := runDeploy(p.t, p.admin(), &orlav1.DeployRequest{Manifest: m})
	if err != nil {
		p.t.Fatal(err)
	}
	return res.GetLive()
}

func (p *plane) setSecret(app, name, value string) *orlav1.SetSecretResponse {
	p.t.Helper()
	res, err := p.admin().SetSecret(p.t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: app, Name: name, Value: []byte(value)}))
	if err != nil {
		p.t.Fatal(err)
	}
	return res.Msg
}

func (p *plane) rollback(app string, release uint64) error {
	_, err := p.admin().Rollback(p.t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: app, Release: release}))
	return err
}

func TestSecretsTakeEffectAndRollBack(t *testing.T) {
	p := newPlane(t)
	_, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: p.keeper("shop", "KEY")})
	refused(t, "a deploy without the secret", err, connect.CodeInvalidArgument, "functions.api.secrets[0]", "orla secrets set shop KEY")
	if res := p.setSecret("shop", "KEY", "value-one"); res.GetVersion() != 1 || res.GetLive() != nil {
		t.Errorf("set before the first deploy: %v", res)
	}
	see := func(when, want string) {
		t.Helper()
		if got := p.get("http://shop.test/env/KEY"); got != "KEY="+want {
			t.Errorf("%s the function sees %q, want %q", when, got, want)
		}
	}
	live := p.mustDeployManifest(p.keeper("shop", "KEY"))
	see("after the deploy", "value-one")
	if again := p.mustDeployManifest(p.keeper("shop", "KEY")); !again.GetUnchanged() {
		t.Error("the same deploy again is not unchanged")
	}
	if res := p.setSecret("shop", "KEY", "value-two"); res.GetVersion() != 2 || res.GetLive().GetRelease() != live.GetRelease()+1 {
		t.Errorf("set: %v, want version 2 in release %d", res, live.GetRelease()+1)
	}
	see("after it was set", "value-two")
	if err := p.rollback("shop", 0); err != nil {
		t.Fatal(err)
	}
	see("after the rollback", "value-one")
	if res := p.setSecret("shop", "OTHER", "x"); res.GetLive() != nil {
		t.Errorf("a secret that no function asks for made release %d", res.GetLive().GetRelease())
	}
	if _, err := p.admin().SetSecret(t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: "shop", Name: "KEY", Value: []byte("value-three"), NoDeploy: true})); err != nil {
		t.Fatal(err)
	}
	see("after --no-deploy", "value-one")
	p.mustDeployManifest(p.keeper("shop", "KEY"))
	see("after the deploy that follows", "value-three")
}

func TestSecretsAreNotShown(t *testing.T) {
	p := newPlane(t)
	p.setSecret("shop", "KEY", "hunter2hunter2")
	p.mustDeployManifest(p.keeper("shop", "KEY"))
	p.setSecret("shop", "KEY", "hunter2hunter2 again")
	list, err := p.admin().ListSecrets(t.Context(), connect.NewRequest(&orlav1.ListSecretsRequest{App: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	entry := list.Msg.GetSecrets()[0]
	if len(list.Msg.GetSecrets()) != 1 || entry.GetName() != "KEY" || len(entry.GetVersions()) != 2 || entry.GetVersions()[1].GetWho() != "admin" {
		t.Errorf("the list is %v", list.Msg)
	}
	app, err := p.admin().GetApp(t.Context(), connect.NewRequest(&orlav1.GetAppRequest{Name: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := p.s.cfg.Register.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	fmt.Fprint(&all, list.Msg, app.Msg)
	for _, e := range stored {
		all.Write(e.Value)
	}
	if strings.Contains(all.String(), "hunter2") {
		t.Error("the value is shown, or kept unsealed")
	}
	for _, v := range entry.GetVersions() {
		if v.GetSealed() != nil {
			t.Error("the list has what is sealed")
		}
	}
}

func TestRemoveSecret(t *testing.T) {
	p := newPlane(t)
	p.setSecret("shop", "KEY", "one")
	p.mustDeployManifest(p.keeper("shop", "KEY"))
	remove := func() error {
		_, err := p.admin().RemoveSecret(t.Context(), connect.NewRequest(&orlav1.RemoveSecretRequest{App: "shop", Name: "KEY"}))
		return err
	}
	refused(t, "removing what is live", remove(), connect.CodeFailedPrecondition, "release 1", "deploy one that does not ask for it")
	p.mustDeployManifest(p.keeper("shop"))
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	refused(t, "removing twice", remove(), connect.CodeNotFound, "orla secrets list shop")
	refused(t, "rolling back to a release with it", p.rollback("shop", 1), connect.CodeInvalidArgument, "version 1 of secret KEY", "orla secrets set shop KEY")
	if res := p.setSecret("shop", "KEY", "two"); res.GetVersion() != 2 {
		t.Errorf("set again it is version %d, want 2: old releases must not get it", res.GetVersion())
	}
	refused(t, "rolling back to a release with the removed one", p.rollback("shop", 1), connect.CodeInvalidArgument, "version 1 of secret KEY")
	if _, err := p.admin().RemoveApp(t.Context(), connect.NewRequest(&orlav1.RemoveAppRequest{Name: "shop"})); err != nil {
		t.Fatal(err)
	}
	if left, err := p.s.cfg.Register.List(t.Context(), secretPrefix); len(left) != 0 || err != nil {
		t.Errorf("with the app gone there are the secrets %v, %v", left, err)
	}
}

func TestSecretsRefuse(t *testing.T) {
	p := newPlane(t)
	for _, c := range []struct{ what, app, name, value, want string }{
		{"a name in lower case", "shop", "key", "x", "upper-case"},
		{"a name with a dot", "shop", "A.B", "x", "upper-case"},
		{"no value", "shop", "KEY", "", "standard input"},
		{"a large value", "shop", "KEY", strings.Repeat("x", maxSecretBytes+1), "at most"},
		{"a NUL", "shop", "KEY", "secret\x00value", "base64"},
		{"no UTF-8", "shop", "KEY", "secret\xffvalue", "base64"},
		{"no app", "", "KEY", "x", "name the app"},
	} {
		_, err := p.admin().SetSecret(t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: c.app, Name: c.name, Value: []byte(c.value)}))
		refused(t, c.what, err, connect.CodeInvalidArgument, c.want)
		if err != nil && strings.Contains(err.Error(), "secret\x00") || strings.Contains(err.Error(), "value\"") {
			t.Errorf("%s: the error tells the value: %v", c.what, err)
		}
	}
	res, err := p.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "ci", Role: orlav1.Role_ROLE_DEPLOYER, Apps: []string{"blog"}}))
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := p.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "eyes", Role: orlav1.Role_ROLE_VIEWER}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []orlav1connect.ControlServiceClient{p.as(res.Msg.GetSecret()), p.as(viewer.Msg.GetSecret())} {
		_, err := c.SetSecret(t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: "shop", Name: "KEY", Value: []byte("x")}))
		refused(t, "setting another's secret", err, connect.CodePermissionDenied)
		_, err = c.ListSecrets(t.Context(), connect.NewRequest(&orlav1.ListSecretsRequest{App: "shop"}))
		refused(t, "listing another's secrets", err, connect.CodePermissionDenied)
		_, err = c.RemoveSecret(t.Context(), connect.NewRequest(&orlav1.RemoveSecretRequest{App: "shop", Name: "KEY"}))
		refused(t, "removing another's secret", err, connect.CodePermissionDenied)
		_, err = c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "shop", Store: "s", Key: "k"}))
		refused(t, "getting another's value", err, connect.CodePermissionDenied)
		_, err = c.ListValues(t.Context(), connect.NewRequest(&orlav1.ListValuesRequest{App: "shop", Store: "s"}))
		refused(t, "listing another's keys", err, connect.CodePermissionDenied)
		_, err = c.PutValue(t.Context(), connect.NewRequest(&orlav1.PutValueRequest{App: "shop", Store: "s", Key: "k"}))
		refused(t, "putting another's value", err, connect.CodePermissionDenied)
		_, err = c.DeleteValue(t.Context(), connect.NewRequest(&orlav1.DeleteValueRequest{App: "shop", Store: "s", Key: "k"}))
		refused(t, "deleting another's value", err, connect.CodePermissionDenied)
	}
}

// TestSecretsOfAnotherKey: the node's key was lost, or the register is another's.
func TestSecretsOfAnotherKey(t *testing.T) {
	p := newPlane(t)
	p.setSecret("shop", "KEY", "one")
	other, err := seal.New([]byte(strings.Repeat("k", seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	mine := p.s.cfg.SecretKey
	p.s.cfg.SecretKey = other
	_, err = runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: p.keeper("shop", "KEY")})
	refused(t, "a deploy", err, connect.CodeInvalidArgument, "sealed with another key", "orla secrets set shop KEY")
	p.s.cfg.OldSecretKey = mine // the node has joined a cluster
	p.mustDeployManifest(p.keeper("shop", "KEY"))
	if got := p.get("http://shop.test/env/KEY"); got != "KEY=one" {
		t.Errorf("with the former key the function sees %q", got)
	}
}

// TestSecretVersionsAreKept: as many as releases may need, and no more.
func TestSecretVersionsAreKept(t *testing.T) {
	p := newPlane(t)
	p.setSecret("shop", "KEY", "1")
	p.mustDeployManifest(p.keeper("shop", "KEY"))
	head, _ := p.s.catalog.head("shop")
	versions := func(from, to uint64, size int) (all []*orlav1.SecretVersion) {
		for n := from; n <= to; n++ {
			all = append(all, &orlav1.SecretVersion{Version: n, Sealed: make([]byte, size)})
		}
		return all
	}
	numbers := func(all []*orlav1.SecretVersion) string {
		var b strings.Builder
		for _, v := range all {
			fmt.Fprint(&b, v.GetVersion(), " ")
		}
		return strings.TrimSpace(b.String())
	}
	if got := numbers(p.s.kept(head, "KEY", versions(1, 5, 10))); got != "1 5" {
		t.Errorf("of five, with the first in a release, %s are kept, want 1 and 5", got)
	}
	if got := numbers(p.s.kept(nil, "KEY", versions(1, 5, 10))); got != "5" {
		t.Errorf("of five without an app %s are kept, want 5", got)
	}
	if got := numbers(p.s.kept(head, "KEY", versions(1, 3, keptSecretBytes))); got != "1 3" {
		t.Errorf("of large ones %s are kept, want the live 1 and the newest", got)
	}
}

func TestValuesOfApps(t *testing.T) {
	p := newPlane(t)
	p.mustDeployManifest(p.keeper("shop"))
	p.mustDeployManifest(p.keeper("blog"))
	if got := p.get("http://shop.test/put/s/k/0/-1"); !strings.Contains("123456789", got) {
		t.Fatalf("the function puts: %q", got)
	}
	c := p.admin()
	value, err := c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "shop", Key: "k"}))
	if err != nil || value.Msg.GetStore() != "s" || value.Msg.GetRevision() == 0 {
		t.Errorf("get of what the function has put: %v, %v", value, err)
	}
	_, err = c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "blog", Key: "k"}))
	refused(t, "the other app's key", err, connect.CodeNotFound, "orla kv list blog")
	if got := p.get("http://blog.test/get/s/k/10"); got != "-1 -" {
		t.Errorf("the other app's function gets %q, want -1", got)
	}
	if _, err := c.PutValue(t.Context(), connect.NewRequest(&orlav1.PutValueRequest{App: "shop", Key: "from/outside", Value: []byte("hello")})); err != nil {
		t.Fatal(err)
	}
	if got := p.get("http://shop.test/list/s/from//10/1000"); got != "from/outside," {
		t.Errorf("the function lists %q", got)
	}
	wrong := uint64(999)
	_, err = c.PutValue(t.Context(), connect.NewRequest(&orlav1.PutValueRequest{App: "shop", Key: "k", Expect: &wrong}))
	refused(t, "a put at another revision", err, connect.CodeAborted)
	_, err = c.PutValue(t.Context(), connect.NewRequest(&orlav1.PutValueRequest{App: "shop", Key: ""}))
	refused(t, "a put without a key", err, connect.CodeInvalidArgument)
	_, err = c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "shop", Store: "*", Key: "k"}))
	refused(t, "a store that is none", err, connect.CodeInvalidArgument)
	_, err = c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "shup", Key: "k"}))
	refused(t, "an app that is none", err, connect.CodeNotFound, `did you mean "shop"?`)
	list, err := c.ListValues(t.Context(), connect.NewRequest(&orlav1.ListValuesRequest{App: "shop", Limit: 1}))
	if err != nil || fmt.Sprint(list.Msg.GetKeys()) != "[from/outside]" || list.Msg.GetCursor() != "from/outside" {
		t.Errorf("list: %v, %v", list, err)
	}
	_, err = c.DeleteValue(t.Context(), connect.NewRequest(&orlav1.DeleteValueRequest{App: "shop", Key: "k"}))
	if got := p.get("http://shop.test/get/s/k/10"); got != "-1 -" || err != nil {
		t.Errorf("after the delete (%v) the function gets %q", err, got)
	}
	var ce *connect.Error
	p.s.cfg.KV = nil
	if _, err := c.GetValue(t.Context(), connect.NewRequest(&orlav1.GetValueRequest{App: "shop", Key: "k"})); !errors.As(err, &ce) || ce.Code() != connect.CodeFailedPrecondition {
		t.Errorf("on a node without a store: %v", err)
	}
}

// TestVaultWaitsForUpdates: a hub asks for a release sooner than its secrets arrive.
func TestVaultWaitsForUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v vault
		entry, err := encode(&orlav1.Secret{App: "shop", Name: "KEY", Last: 3, Versions: []*orlav1.SecretVersion{{Version: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan *orlav1.SecretVersion)
		go func() { got <- v.version(t.Context(), "shop", "KEY", 3) }()
		synctest.Wait()
		if err := v.apply(cluster.Update{Entries: []cluster.Entry{{Key: "head.shop"}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := v.apply(cluster.Update{Entries: []cluster.Entry{{Key: secretKey("shop", "KEY"), Value: entry}}}); err != nil {
			t.Fatal(err)
		}
		if v := <-got; v.GetVersion() != 3 {
			t.Errorf("version 3 is %v", v)
		}
		began := time.Now()
		if old := v.version(t.Context(), "shop", "KEY", 2); old != nil || time.Since(began) != 0 {
			t.Errorf("version 2, which is gone, is %v after %v, want none at once", old, time.Since(began))
		}
		if next := v.version(t.Context(), "shop", "KEY", 4); next != nil || time.Since(began) != versionWait {
			t.Errorf("version 4, which never comes, is %v after %v", next, time.Since(began))
		}
	})
}

// TestSecretsComeAlongIntoACluster: what a node sealed with its own key while it was
// alone opens on every node soon.
func TestSecretsComeAlongIntoACluster(t *testing.T) {
	p := newPlane(t)
	p.setSecret("shop", "KEY", "one")
	clusters, err := seal.New([]byte(strings.Repeat("k", seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	p.s.cfg.OldSecretKey, p.s.cfg.SecretKey = p.s.cfg.SecretKey, clusters
	ref := &orlav1.SecretRef{Name: "KEY", Version: 1}
	if value, err := p.s.openSecret(t.Context(), "shop", ref); err != nil || string(value) != "one" {
		t.Errorf("before it is sealed anew: %q, %v", value, err)
	}
	p.s.reseal(t.Context())
	p.s.cfg.OldSecretKey = nil // as on every other node
	deadline := time.Now().Add(60 * time.Second)
	for {
		value, err := p.s.openSecret(t.Context(), "shop", ref)
		if err == nil && string(value) == "one" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("another node opens %q, %v", value, err)
		}
	}
}

// Where nodes have no key in common, none seals what the others could not open.
func TestSecretsNeedAKeyInCommon(t *testing.T) {
	p := newPlane(t)
	p.s.cfg.SecretKey = nil
	_, err := p.admin().SetSecret(t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: "shop", Name: "KEY", Value: []byte("v")}))
	refused(t, "set", err, connect.CodeFailedPrecondition, "orla cluster secret", "--cluster-secret-file")
}
