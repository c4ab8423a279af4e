package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// audit reads the audit log as an admin.
func (p *plane) audit(req *orlav1.ListAuditRequest) []*orlav1.AuditRecord {
	p.t.Helper()
	stream, err := p.admin().ListAudit(p.t.Context(), connect.NewRequest(req))
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	var all []*orlav1.AuditRecord
	for stream.Receive() {
		all = append(all, stream.Msg().GetRecord())
	}
	if err := stream.Err(); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// sentence is a record without what differs from run to run.
func sentence(r *orlav1.AuditRecord) string {
	detail, _, _ := strings.Cut(r.GetDetail(), "revision")
	return strings.Join(strings.Fields(fmt.Sprint(
		r.GetToken(), " ", r.GetAddress(), " ", r.GetAction(), " ", r.GetApp(), " ", r.GetTarget(), " [", detail, "] ", r.GetOutcome())), " ")
}

func (p *plane) token(name string, role orlav1.Role, apps ...string) *orlav1.CreateTokenResponse {
	p.t.Helper()
	res, err := p.admin().CreateToken(p.t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: name, Role: role, Apps: apps}))
	if err != nil {
		p.t.Fatal(err)
	}
	return res.Msg
}

func TestAuditTellsWhoChangedWhat(t *testing.T) {
	p := newPlane(t)
	ctx := t.Context()
	ci := p.token("ci", orlav1.Role_ROLE_DEPLOYER, "shop")
	viewer := p.token("eye", orlav1.Role_ROLE_VIEWER)
	steps := []struct {
		as   string
		call func() error
		want string // the record; empty: there is none
	}{
		{adminSecret, nil, "admin 127.0.0.1 create token ci " + ci.GetToken().GetId() + " [deployer shop] ok"},
		{adminSecret, nil, "admin 127.0.0.1 create token eye " + viewer.GetToken().GetId() + " [viewer] ok"},
		{ci.GetSecret(), func() error {
			_, err := runDeploy(t, p.as(ci.GetSecret()), &orlav1.DeployRequest{Manifest: answering("shop", "a.test", "secret body")})
			return err
		}, "ci 127.0.0.1 push routes shop [release 1 at ] ok"},
		{"", func() error {
			_, err := runDeploy(t, p.as(ci.GetSecret()), &orlav1.DeployRequest{Manifest: answering("shop", "a.test", "two"), DryRun: true})
			return err
		}, ""},
		{"", func() error {
			_, err := runDeploy(t, p.as(ci.GetSecret()), &orlav1.DeployRequest{Manifest: answering("blog", "b.test", "x")})
			return err
		}, "ci 127.0.0.1 push routes blog [] permission_denied"},
		{"", func() error {
			_, err := runDeploy(t, p.as(ci.GetSecret()), &orlav1.DeployRequest{Manifest: answering("shop", "not a host", "x")})
			return err
		}, "ci 127.0.0.1 push routes shop [] invalid_argument"},
		{"", func() error {
			_, err := p.as(viewer.GetSecret()).ListApps(ctx, connect.NewRequest(&orlav1.ListAppsRequest{}))
			return err
		}, ""},
		{"", func() error {
			_, err := p.as(viewer.GetSecret()).RemoveApp(ctx, connect.NewRequest(&orlav1.RemoveAppRequest{Name: "shop"}))
			return err
		}, "eye 127.0.0.1 remove app shop [] permission_denied"},
		{"", func() error {
			_, err := p.as("orla_guess").RemoveApp(ctx, connect.NewRequest(&orlav1.RemoveAppRequest{Name: "shop"}))
			return err
		}, "127.0.0.1 remove app shop [] unauthenticated"},
		{"", func() error {
			_, err := p.as(ci.GetSecret()).Rollback(ctx, connect.NewRequest(&orlav1.RollbackRequest{Name: "shop"}))
			return err
		}, "ci 127.0.0.1 rollback shop [] failed_precondition"},
		{"", func() error {
			_, err := p.admin().DrainNode(ctx, connect.NewRequest(&orlav1.DrainNodeRequest{Node: "n1"}))
			return err
		}, "admin 127.0.0.1 drain node n1 [] ok"},
		{"", func() error {
			_, err := p.admin().DrainNode(ctx, connect.NewRequest(&orlav1.DrainNodeRequest{Node: "n1", Resume: true}))
			return err
		}, "admin 127.0.0.1 resume node n1 [] ok"},
		{"", func() error {
			_, err := p.as(ci.GetSecret()).RemoveApp(ctx, connect.NewRequest(&orlav1.RemoveAppRequest{Name: "shop"}))
			return err
		}, "ci 127.0.0.1 remove app shop [] ok"},
		{"", func() error {
			_, err := p.admin().RevokeToken(ctx, connect.NewRequest(&orlav1.RevokeTokenRequest{Id: ci.GetToken().GetId()}))
			return err
		}, "admin 127.0.0.1 revoke token " + ci.GetToken().GetId() + " [ci] ok"},
	}
	var want []string
	for _, step := range steps {
		if step.call != nil {
			_ = step.call() // the record tells how it ended
		}
		if step.want != "" {
			want = append(want, step.want)
		}
	}
	all := p.audit(&orlav1.ListAuditRequest{})
	var got, shop []string
	for _, r := range all {
		got = append(got, sentence(r))
		if r.GetApp() == "shop" {
			shop = append(shop, r.GetId())
		}
		if r.GetNode() != "n1" || r.GetTime() == nil || r.GetToken() != "" && r.GetTokenId() == "" {
			t.Errorf("record %v lacks its node, time or token's id", r)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var ids []string
	for _, r := range p.audit(&orlav1.ListAuditRequest{App: "shop"}) {
		ids = append(ids, r.GetId())
	}
	if !slices.Equal(ids, shop) {
		t.Errorf("records of shop: %q, want %q", ids, shop)
	}
	if newest := p.audit(&orlav1.ListAuditRequest{Limit: 1}); len(newest) != 1 || newest[0].GetId() != all[len(all)-1].GetId() {
		t.Errorf("limit 1 = %v, want the newest", newest)
	}
	if late := p.audit(&orlav1.ListAuditRequest{Since: timestamppb.New(time.Now().Add(time.Minute))}); late != nil {
		t.Errorf("records from the future: %v", late)
	}
	p.inFile(all, ci.GetSecret(), viewer.GetSecret(), "orla_guess", "secret body", adminSecret)
}

// inFile checks that the node's file has the records too, and that neither has any of
// the secrets.
func (p *plane) inFile(all []*orlav1.AuditRecord, secrets ...string) {
	p.t.Helper()
	b, err := os.ReadFile(p.s.cfg.AuditFile)
	if err != nil {
		p.t.Fatal(err)
	}
	if info, err := os.Stat(p.s.cfg.AuditFile); err != nil || info.Mode().Perm() != 0o600 {
		p.t.Errorf("the file's mode is %v, %v, want 0600", info.Mode(), err)
	}
	if n := strings.Count(string(b), "\n"); n != len(all) {
		p.t.Errorf("the file has %d records, want %d:\n%s", n, len(all), b)
	}
	for _, r := range all {
		if !strings.Contains(string(b), r.GetId()) {
			p.t.Errorf("the file lacks %v", r)
		}
	}
	text := string(b) + fmt.Sprint(all)
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			p.t.Errorf("the audit log has a secret: %q", secret)
		}
	}
}

func TestOnlyAdminsReadTheAudit(t *testing.T) {
	p := newPlane(t)
	for _, role := range []orlav1.Role{orlav1.Role_ROLE_VIEWER, orlav1.Role_ROLE_DEPLOYER} {
		var apps []string
		if role == orlav1.Role_ROLE_DEPLOYER {
			apps = []string{"shop"}
		}
		stream, err := p.as(p.token("x", role, apps...).GetSecret()).ListAudit(t.Context(), connect.NewRequest(&orlav1.ListAuditRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		stream.Receive()
		refused(t, roleName(role), stream.Err(), connect.CodePermissionDenied, "admin")
		stream.Close()
	}
}

func TestAuditIsFollowed(t *testing.T) {
	p := newPlane(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream, err := p.admin().ListAudit(ctx, connect.NewRequest(&orlav1.ListAuditRequest{Follow: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetRecord() != nil {
		t.Fatalf("the first message is %v, %v, want one that says that nothing was there", stream.Msg(), stream.Err())
	}
	p.token("one", orlav1.Role_ROLE_VIEWER)
	p.token("two", orlav1.Role_ROLE_VIEWER)
	for _, want := range []string{"one", "two"} {
		if !stream.Receive() || !strings.HasPrefix(stream.Msg().GetRecord().GetTarget(), want) {
			t.Fatalf("next is %v, %v, want the token %q", stream.Msg(), stream.Err(), want)
		}
	}
}

// A stranger cannot fill the log, nor keep what others are refused out of it.
func TestRefusalsAreBounded(t *testing.T) {
	l := &ledger{log: discard(), file: filepath.Join(t.TempDir(), "audit.log")}
	now := time.Now()
	kept := 0
	for range 10_000 {
		if l.admit(&orlav1.AuditRecord{}, now) {
			kept++
		}
		now = now.Add(time.Millisecond)
	}
	if kept < refusedBurst || kept > refusedBurst+2 {
		t.Errorf("%d of 10,000 refusals in 10 s are recorded, want about %d", kept, refusedBurst+1)
	}
	if !l.admit(&orlav1.AuditRecord{TokenId: "other"}, now) {
		t.Error("somebody else's refusal is not recorded")
	}
	later := &orlav1.AuditRecord{}
	if !l.admit(later, now.Add(refusedEvery)) || int(later.GetLeftOut()) != 10_000-kept {
		t.Errorf("after a while the next is recorded with %d left out, want %d", later.GetLeftOut(), 10_000-kept)
	}
	for i := range 2 * maxCallers {
		l.admit(&orlav1.AuditRecord{TokenId: fmt.Sprint(i)}, now)
	}
	if len(l.refused) > maxCallers {
		t.Errorf("%d callers are remembered, want at most %d", len(l.refused), maxCallers)
	}
}

// A record that the cluster does not take waits, is in the file meanwhile, and gets
// there in order.
func TestAuditWaitsForTheRegister(t *testing.T) {
	dir := t.TempDir()
	register, err := cluster.New(cluster.Config{Dir: dir, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{stream: cluster.NewAudit(register), log: discard(), file: filepath.Join(dir, "audit.log")}
	for i := range maxWaiting + 5 {
		l.write(&orlav1.AuditRecord{Id: fmt.Sprint(i)}, true)
	}
	if len(l.waiting) != maxWaiting || l.lost != 5 {
		t.Fatalf("%d records wait and %d do not any more, want %d and 5", len(l.waiting), l.lost, maxWaiting)
	}
	if b, err := os.ReadFile(l.file); err != nil || strings.Count(string(b), "\n") != maxWaiting+5 {
		t.Errorf("the file does not have all records: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- register.Run(ctx, func(context.Context, cluster.Update) error { return nil }) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	l.retry(ctx)
	var ids []string
	err = l.stream.Read(ctx, cluster.AuditQuery{}, func(_ uint64, data []byte) error {
		r, err := decode[orlav1.AuditRecord](data)
		ids = append(ids, r.GetId())
		return err
	})
	if err != nil || len(ids) != maxWaiting || ids[0] != "5" || ids[len(ids)-1] != fmt.Sprint(maxWaiting+4) {
		t.Errorf("the cluster has %d records, %v, want those from 5 to %d", len(ids), err, maxWaiting+4)
	}
}

// What a process has not brought to the cluster when it ends, the next one does, once.
func TestAuditSurvivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	register, err := cluster.New(cluster.Config{Dir: dir, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "audit.log")
	first := &ledger{stream: cluster.NewAudit(register), log: discard(), file: file}
	for i := range 3 {
		first.write(&orlav1.AuditRecord{Id: fmt.Sprint(i)}, true)
	}
	torn, err := os.OpenFile(file+spoolSuffix, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(torn, "\x20cut off")
	torn.Close()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- register.Run(ctx, func(context.Context, cluster.Update) error { return nil }) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for _, want := range []int{3, 0} {
		next := &ledger{stream: cluster.NewAudit(register), log: discard(), file: file}
		next.load()
		if len(next.waiting) != want {
			t.Errorf("%d records are taken over, want %d", len(next.waiting), want)
		}
		next.retry(ctx)
		next.drain(ctx)
	}
	var ids []string
	err = first.stream.Read(ctx, cluster.AuditQuery{}, func(_ uint64, data []byte) error {
		r, err := decode[orlav1.AuditRecord](data)
		ids = append(ids, r.GetId())
		return err
	})
	if err != nil || strings.Join(ids, " ") != "0 1 2" {
		t.Errorf("the cluster has the records %v, %v", ids, err)
	}
}

// What was done to a node while it was stopped is recorded once, when there is a register.
func TestOfflineChangesAreRecorded(t *testing.T) {
	dir := t.TempDir()
	notes := filepath.Join(dir, "audit.offline")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 {
		must := Offline{ID: "grow-1", Time: at, Who: "user alice", Action: "cluster grow", Detail: "up to revision 7"}
		if err := must.Note(notes); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(notes, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"id":"torn`) // by a power cut
	f.Close()
	if err := (Offline{ID: "grow-2", Who: "user bob"}).Note(notes); err != nil {
		t.Fatal(err)
	}
	register, err := cluster.New(cluster.Config{Dir: dir, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{stream: cluster.NewAudit(register), log: discard(), file: filepath.Join(dir, "audit.log"), offline: notes, node: "n1"}
	if l.keepOffline(t.Context()) {
		t.Error("recorded, though there is no register")
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- register.Run(ctx, func(context.Context, cluster.Update) error { return nil }) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if !l.keepOffline(t.Context()) {
			t.Fatal("not recorded")
		}
	}
	var got []*orlav1.AuditRecord
	err = l.stream.Read(ctx, cluster.AuditQuery{}, func(_ uint64, data []byte) error {
		r, err := decode[orlav1.AuditRecord](data)
		got = append(got, r)
		return err
	})
	if err != nil || len(got) != 2 || got[1].GetToken() != "user bob" || got[0].GetToken() != "user alice" || got[0].GetNode() != "n1" || got[0].GetAction() != "cluster grow" || !got[0].GetTime().AsTime().Equal(at) {
		t.Errorf("recorded %v, %v", got, err)
	}
	if b, err := os.ReadFile(l.file); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("the node's file has %q, %v", b, err)
	}
	if _, err := os.Stat(notes); err == nil {
		t.Error("what was recorded is still noted")
	}
}

func TestAuditFileIsRotated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	for i := range 10 {
		if err := appendRotating(file, fmt.Appendf(nil, "line %d\n", i), 14, 2); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"": "line 8\nline 9\n", ".1": "line 6\nline 7\n", ".2": "line 4\nline 5\n"} {
		if b, err := os.ReadFile(file + name); err != nil || string(b) != want {
			t.Errorf("audit.log%s = %q, %v, want %q", name, b, err, want)
		}
	}
	if _, err := os.Stat(file + ".3"); err == nil {
		t.Error("a third old file is kept")
	}
}
