package control

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// split asks for shares of "shop" in percent, by release.
func (p *plane) split(shares ...[2]uint64) (*orlav1.Live, error) {
	req := &orlav1.SetSplitRequest{Name: "shop"}
	for _, s := range shares {
		req.Shares = append(req.Shares, &orlav1.Share{Release: s[0], Weight: uint32(s[1] * 100)})
	}
	res, err := p.admin().SetSplit(p.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetLive(), nil
}

func (p *plane) mustSplit(shares ...[2]uint64) *orlav1.Live {
	p.t.Helper()
	live, err := p.split(shares...)
	if err != nil {
		p.t.Fatal(err)
	}
	return live
}

// getAs fetches as the client with that number.
func (p *plane) getAs(client int) string {
	r := httptest.NewRequest("GET", "http://shop.test/", nil)
	r.Header.Set("Cookie", fmt.Sprintf("orla-split=%d", client))
	w := httptest.NewRecorder()
	p.s.cfg.Dispatcher.ServeHTTP(w, r)
	return strings.TrimSpace(w.Body.String())
}

func (p *plane) head() *orlav1.Head {
	p.t.Helper()
	res, err := p.admin().GetApp(p.t.Context(), connect.NewRequest(&orlav1.GetAppRequest{Name: "shop"}))
	if err != nil {
		p.t.Fatal(err)
	}
	return res.Msg.GetApp().GetHead()
}

func TestSplit(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	p.mustDeploy("shop", "shop.test", "v2")
	p.mustDeploy("shop", "shop.test", "v3")
	live := p.mustSplit([2]uint64{3, 10}, [2]uint64{1, 90})
	if live.GetRelease() != 1 || sharesText(live.GetSplit()) != "1=90 3=10" || live.GetEnded() != nil {
		t.Errorf("split: %v, want release 1 with the largest share", live)
	}
	if got := p.getAs(8999) + p.getAs(9000); got != "v1v3" {
		t.Errorf("clients 8999 and 9000 get %q, want v1v3", got)
	}
	if again := p.mustSplit([2]uint64{1, 90}, [2]uint64{3, 10}); !again.GetUnchanged() || again.GetRevision() != live.GetRevision() {
		t.Errorf("the same split again: %v, want it unchanged", again)
	}
	kept := p.s.cfg.Dispatcher.Get("shop")
	p.mustSplit([2]uint64{1, 50}, [2]uint64{3, 50})
	if got := p.getAs(4999) + p.getAs(5000); got != "v1v3" || p.s.cfg.Dispatcher.Get("shop") != kept {
		t.Errorf("after another split: %q; release 1 is the same as before: %v", got, p.s.cfg.Dispatcher.Get("shop") == kept)
	}
	if h := p.head(); h.GetLive() != 1 || sharesText(h.GetSplit()) != "1=50 3=50" {
		t.Errorf("head = %v", h)
	}
	live = p.mustSplit([2]uint64{3, 100})
	if live.GetRelease() != 3 || live.GetSplit() != nil || sharesText(live.GetEnded()) != "1=50 3=50" || p.get("http://shop.test/") != "v3" {
		t.Errorf("all for release 3: %v", live)
	}
	if again := p.mustSplit([2]uint64{3, 100}); !again.GetUnchanged() {
		t.Errorf("the end again: %v, want it unchanged", again)
	}
}

func TestSplitEnds(t *testing.T) {
	rollback := func(release uint64) func(*plane) (*orlav1.Live, error) {
		return func(p *plane) (*orlav1.Live, error) {
			res, err := p.admin().Rollback(p.t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "shop", Release: release}))
			if err != nil {
				return nil, err
			}
			return res.Msg.GetLive(), nil
		}
	}
	deploy := func(body string) func(*plane) (*orlav1.Live, error) {
		return func(p *plane) (*orlav1.Live, error) {
			res, err := runDeploy(p.t, p.admin(), &orlav1.DeployRequest{Manifest: answering("shop", "shop.test", body)})
			return res.GetLive(), err
		}
	}
	for _, tt := range []struct {
		name    string
		shares  [][2]uint64
		end     func(*plane) (*orlav1.Live, error)
		release uint64
		body    string
	}{
		{"rollback early in a canary", [][2]uint64{{2, 90}, {3, 10}}, rollback(0), 2, "v2"},
		{"rollback late in a canary", [][2]uint64{{2, 10}, {3, 90}}, rollback(0), 2, "v2"},
		{"rollback with a gap", [][2]uint64{{1, 30}, {3, 70}}, rollback(0), 1, "v1"},
		{"rollback to one with a share", [][2]uint64{{2, 90}, {3, 10}}, rollback(3), 3, "v3"},
		{"rollback to the one with the largest share", [][2]uint64{{2, 90}, {3, 10}}, rollback(2), 2, "v2"},
		{"rollback to one without a share", [][2]uint64{{2, 90}, {3, 10}}, rollback(1), 1, "v1"},
		{"deploy", [][2]uint64{{2, 90}, {3, 10}}, deploy("v4"), 4, "v4"},
		{"deploy of what has the largest share", [][2]uint64{{2, 90}, {3, 10}}, deploy("v2"), 4, "v2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlane(t)
			for _, body := range []string{"v1", "v2", "v3"} {
				p.mustDeploy("shop", "shop.test", body)
			}
			before := sharesText(p.mustSplit(tt.shares...).GetSplit())
			live, err := tt.end(p)
			if err != nil || live.GetRelease() != tt.release || sharesText(live.GetEnded()) != before || live.GetUnchanged() {
				t.Errorf("live = %v, %v; want release %d, and that the split %s has ended", live, err, tt.release, before)
			}
			if got := p.getAs(0) + " " + p.getAs(9999); got != tt.body+" "+tt.body {
				t.Errorf("clients at both ends get %q, want %s", got, tt.body)
			}
			if h := p.head(); h.GetSplit() != nil || h.GetLive() != tt.release {
				t.Errorf("head = %v", h)
			}
		})
	}
}

func TestSplitRefusals(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	p.mustDeploy("shop", "shop.test", "v2")
	p.mustDeploy("shop", "new.test", "v3")
	var many [][2]uint64
	for n := range uint64(dispatch.MaxShares + 1) {
		many = append(many, [2]uint64{n + 1, 1})
	}
	for _, tt := range []struct {
		name   string
		shares [][2]uint64
		code   connect.Code
		parts  []string
	}{
		{"none", nil, connect.CodeInvalidArgument, []string{"1 to 10 releases"}},
		{"many", many, connect.CodeInvalidArgument, []string{"not 11"}},
		{"too little", [][2]uint64{{1, 50}, {2, 49}}, connect.CodeInvalidArgument, []string{"add up to 99%"}},
		{"too much", [][2]uint64{{1, 5000}, {2, 50}}, connect.CodeInvalidArgument, []string{"add up to 5050%"}},
		{"nothing for one", [][2]uint64{{1, 100}, {2, 0}}, connect.CodeInvalidArgument, []string{"release 2", "leave it out"}},
		{"twice", [][2]uint64{{2, 50}, {2, 50}}, connect.CodeInvalidArgument, []string{"release 2 has two"}},
		{"forgotten", [][2]uint64{{1, 50}, {9, 50}}, connect.CodeNotFound, []string{"no release 9", "1 to 3"}},
		{"hosts", [][2]uint64{{1, 50}, {3, 50}}, connect.CodeFailedPrecondition, []string{`release 3 does not serve "shop.test"`, `release 1 does not serve "new.test"`, "deploy"}},
	} {
		_, err := p.split(tt.shares...)
		refused(t, tt.name, err, tt.code, tt.parts...)
	}
	if got := p.get("http://new.test/"); got != "v3" {
		t.Errorf("after all refusals new.test = %q", got)
	}
	// Hosts do move with the whole of the clients.
	p.mustSplit([2]uint64{1, 100})
	if a, b := p.get("http://shop.test/"), p.get("http://new.test/"); a != "v1" || b != "nothing is served under this name" {
		t.Errorf("all for release 1: shop.test = %q, new.test = %q", a, b)
	}
	viewer, err := p.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "t", Role: orlav1.Role_ROLE_DEPLOYER, Apps: []string{"blog"}}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.as(viewer.Msg.GetSecret()).SetSplit(t.Context(), connect.NewRequest(&orlav1.SetSplitRequest{Name: "shop"}))
	refused(t, "another's token", err, connect.CodePermissionDenied)
	_, err = p.admin().SetSplit(t.Context(), connect.NewRequest(&orlav1.SetSplitRequest{Name: "shp"}))
	refused(t, "no such app", err, connect.CodeNotFound, `"shop"`)
}

// TestHistoryKeepsShares deploys until the oldest releases are forgotten: those that
// have a share are not, and what they need is not collected.
func TestHistoryKeepsShares(t *testing.T) {
	head := &orlav1.Head{Live: 3, Split: []*orlav1.Share{{Release: 1, Weight: 5000}, {Release: 3, Weight: 5000}}}
	for n := range uint64(maxHistory + 2) {
		head.Releases = append(head.Releases, &orlav1.Release{Number: n + 1, Created: timestamppb.Now()})
	}
	stamp(context.Background(), head)
	if len(head.GetReleases()) != maxHistory || findRelease(head, 1) == nil || findRelease(head, 3) == nil || findRelease(head, 2) != nil || findRelease(head, 4) != nil {
		t.Errorf("of %d releases the first are %v", len(head.GetReleases()), head.GetReleases()[:3])
	}
}

// TestConcurrentSplits sets shares at once: each is answered with what it asked for
// or with a conflict, and nothing that was built is left over.
func TestConcurrentSplits(t *testing.T) {
	p := newPlane(t)
	p.mustDeploy("shop", "shop.test", "v1")
	p.mustDeploy("shop", "shop.test", "v2")
	errs := make(chan error)
	for range 2 {
		for n := uint64(1); n <= 4; n++ {
			go func() {
				_, err := p.split([2]uint64{1, n}, [2]uint64{2, 100 - n})
				errs <- err
			}()
		}
	}
	won := 0
	for range 8 {
		if err := <-errs; err == nil {
			won++
		} else {
			refused(t, "a racer", err, connect.CodeAborted, "meanwhile")
		}
	}
	if won == 0 {
		t.Error("nobody won")
	}
	p.s.staged.mu.Lock()
	defer p.s.staged.mu.Unlock()
	if len(p.s.staged.releases) != 0 {
		t.Errorf("%d releases are left over", len(p.s.staged.releases))
	}
}
