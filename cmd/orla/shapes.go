package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// The shapes of --json: numbers are numbers, times are RFC 3339, and a list is
// never null. They are part of what users rely on: extend them, rename nothing.

type versionShape struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionInfo() versionShape {
	return versionShape{Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
}

type summaryShape struct {
	Files     uint64 `json:"files"`
	Bytes     uint64 `json:"bytes"`
	Functions uint64 `json:"functions"`
	Routes    uint64 `json:"routes"`
}

func summaryOf(s *orlav1.Summary) summaryShape {
	return summaryShape{Files: s.GetFiles(), Bytes: s.GetBytes(), Functions: s.GetFunctions(), Routes: s.GetRoutes()}
}

type liveShape struct {
	Name      string       `json:"name"`
	Release   uint64       `json:"release"`
	From      uint64       `json:"from,omitempty"` // of a rollback
	Digest    string       `json:"digest"`
	Revision  uint64       `json:"revision"`
	Node      string       `json:"node"`
	SwapMs    float64      `json:"swapMs"`
	TotalMs   float64      `json:"totalMs"`
	Unchanged bool         `json:"unchanged"`
	URLs      []string     `json:"urls"`
	Summary   summaryShape `json:"summary"`
	// In a cluster: what every node has made of it.
	Nodes    []nodeResultShape `json:"nodes,omitempty"`
	Unproven string            `json:"unproven,omitempty"`
	// The split in force, and the one that this has ended.
	Split []shareShape `json:"split"`
	Ended []shareShape `json:"ended,omitempty"`
	// What the hosts of a deploy have, with --tls acme.
	Certificates []certShape `json:"certificates,omitempty"`
}

func liveOf(l *orlav1.Live, from uint64) liveShape {
	return liveShape{
		Nodes: shapes(l.GetNodes(), nodeResultOf), Unproven: l.GetUnproven(),
		Name: l.GetName(), Release: l.GetRelease(), From: from, Digest: l.GetDigest(), Revision: l.GetRevision(), Node: l.GetNode(),
		SwapMs: l.GetSwapMs(), TotalMs: l.GetTotalMs(), Unchanged: l.GetUnchanged(), URLs: orEmpty(l.GetUrls()), Summary: summaryOf(l.GetSummary()),
		Split: shapes(l.GetSplit(), shareOf), Ended: shapes(l.GetEnded(), shareOf),
	}
}

type appShape struct {
	Name      string       `json:"name"`
	Kind      string       `json:"kind"`
	Release   uint64       `json:"release"`
	Changed   time.Time    `json:"changed"`
	ChangedBy string       `json:"changedBy"`
	Revision  uint64       `json:"revision"`
	Hosts     []string     `json:"hosts"`
	Summary   summaryShape `json:"summary"`
	Split     []shareShape `json:"split"` // empty if the release has all clients
	// Only where one app is shown.
	Manifest json.RawMessage `json:"manifest,omitempty"`
	// Only where the release that the node serves is shown: how its functions are on
	// that node.
	Node      string          `json:"node,omitempty"`
	Functions []functionShape `json:"functions,omitempty"`
}

func appOf(a *orlav1.App) appShape {
	h := a.GetHead()
	return appShape{
		Name: h.GetName(), Kind: kindName(h.GetKind()), Release: h.GetLive(), Changed: h.GetChanged().AsTime(), ChangedBy: h.GetChangedBy(),
		Revision: a.GetRevision(), Hosts: orEmpty(a.GetHosts()), Summary: summaryOf(a.GetSummary()), Split: shapes(h.GetSplit(), shareOf),
	}
}

func kindName(k orlav1.Kind) string {
	switch k {
	case orlav1.Kind_KIND_APP:
		return "app"
	case orlav1.Kind_KIND_ROUTES:
		return "routes"
	default:
		return ""
	}
}

type releaseShape struct {
	Number  uint64    `json:"number"`
	Live    bool      `json:"live"`
	Percent float64   `json:"percent"` // of the clients
	Digest  string    `json:"digest"`
	Created time.Time `json:"created"`
	Who     string    `json:"who"`
	Message string    `json:"message"`
}

// releasesOf returns a head's releases, the newest first.
func releasesOf(h *orlav1.Head) []releaseShape {
	all := shapes(h.GetReleases(), func(r *orlav1.Release) releaseShape {
		return releaseShape{
			Number: r.GetNumber(), Live: percentOf(h, r.GetNumber()) > 0, Percent: percentOf(h, r.GetNumber()), Digest: r.GetDigest(),
			Created: r.GetCreated().AsTime(), Who: r.GetWho(), Message: r.GetMessage(),
		}
	})
	slices.Reverse(all)
	return all
}

// percentOf returns a release's part of an app's clients.
func percentOf(h *orlav1.Head, release uint64) float64 {
	for _, s := range h.GetSplit() {
		if s.GetRelease() == release {
			return shareOf(s).Percent
		}
	}
	if len(h.GetSplit()) == 0 && h.GetLive() == release {
		return 100
	}
	return 0
}

type removedShape struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
}

type routeShape struct {
	Name    string   `json:"name"`
	Release uint64   `json:"release"`
	Host    string   `json:"host"`
	Methods []string `json:"methods"`
	Path    string   `json:"path"`
	Match   string   `json:"match"` // the conditions beyond host, method and path
	Target  string   `json:"target"`
	To      string   `json:"to"`
	Source  string   `json:"source"`
	// Functions in front of the target, outermost first.
	Middleware []string `json:"middleware"`
}

// leadsTo is the target as a table shows it, with what a request passes on its way:
// "auth → site".
func (r routeShape) leadsTo() string {
	target := strings.TrimSpace(r.Target + " " + r.To)
	return strings.Join(append(slices.Clone(r.Middleware), target), " → ")
}

func routeOf(r *orlav1.Route) routeShape {
	target, to := targetOf(r)
	return routeShape{
		Methods: orEmpty(r.GetMatch().GetMethods()), Path: pathOf(r), Match: conditionsOf(r.GetMatch()),
		Target: target, To: to, Source: r.GetSource(), Middleware: orEmpty(r.GetMiddleware()),
	}
}

func routeLineOf(l *orlav1.RouteLine) routeShape {
	s := routeOf(l.GetRoute())
	s.Name, s.Release, s.Host = l.GetName(), l.GetRelease(), l.GetHost()
	return s
}

func pathOf(r *orlav1.Route) string {
	if p := r.GetMatch().GetPath(); p != "" {
		return p
	}
	return "/*"
}

func conditionsOf(m *orlav1.Match) string {
	var all []string
	for _, h := range m.GetHeaders() {
		all = append(all, h.GetName()+": "+h.GetValue())
	}
	for _, q := range m.GetQuery() {
		all = append(all, "?"+q.GetName()+"="+q.GetValue())
	}
	if c := m.GetClientCert(); c != "" {
		all = append(all, "client_cert="+c)
	}
	return strings.Join(all, ", ")
}

// targetOf names a route's target as `orla routes` shows it, and what it leads
// to.
func targetOf(r *orlav1.Route) (target, to string) {
	switch t := r.GetTarget().(type) {
	case *orlav1.Route_Function:
		target, to = "function", t.Function
	case *orlav1.Route_Site:
		target = "site"
	case *orlav1.Route_Proxy:
		target, to = "proxy", strings.Join(t.Proxy.GetTo(), " ")
	case *orlav1.Route_Redirect:
		target, to = "redirect", fmt.Sprintf("%d %s", t.Redirect.GetStatus(), t.Redirect.GetTo())
	case *orlav1.Route_Respond:
		target, to = "respond", fmt.Sprint(t.Respond.GetStatus())
	default:
		return "rewrite", r.GetRewrite()
	}
	if w := r.GetRewrite(); w != "" {
		to = strings.TrimSpace(to + " as " + w)
	}
	return target, to
}

type explainShape struct {
	Host        string            `json:"host"`
	HostPattern string            `json:"hostPattern"`
	Path        string            `json:"path"`
	Name        string            `json:"name"`
	Release     uint64            `json:"release"`
	Status      uint32            `json:"status"` // 0 if the target decides
	Route       *routeShape       `json:"route"`
	HTTPS       string            `json:"https"` // where plain HTTP is sent before any route; empty: nowhere
	Captures    map[string]string `json:"captures"`
	Steps       []stepShape       `json:"steps"`
}

type stepShape struct {
	Route   routeShape `json:"route"`
	Matched bool       `json:"matched"`
	Reason  string     `json:"reason"`
}

func explainOf(e *orlav1.ExplainRouteResponse) explainShape {
	s := explainShape{
		Host: e.GetHost(), HostPattern: e.GetHostPattern(), Path: e.GetPath(), Name: e.GetName(), Release: e.GetRelease(),
		Status: e.GetStatus(), HTTPS: e.GetHttps(), Captures: map[string]string{}, Steps: []stepShape{},
	}
	if e.GetRoute() != nil {
		r := routeOf(e.GetRoute())
		s.Route = &r
	}
	for _, c := range e.GetCaptures() {
		s.Captures[c.GetName()] = c.GetValue()
	}
	for _, st := range e.GetSteps() {
		s.Steps = append(s.Steps, stepShape{Route: routeOf(st.GetRoute()), Matched: st.GetMatched(), Reason: st.GetReason()})
	}
	return s
}

// logShape is one line of `orla logs --json`.
type logShape struct {
	Time       time.Time         `json:"time"`
	Level      string            `json:"level"`
	Message    string            `json:"message"`
	Node       string            `json:"node"`
	Attributes map[string]string `json:"attributes"`
}

func logOf(r *orlav1.TailLogsResponse) logShape {
	l := logShape{Time: r.GetTime().AsTime(), Level: r.GetLevel(), Message: r.GetMessage(), Node: r.GetNode(), Attributes: map[string]string{}}
	for _, a := range r.GetAttributes() {
		l.Attributes[a.GetName()] = a.GetValue()
	}
	return l
}

// auditShape is one change, or the refusal of one.
type auditShape struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Action  string    `json:"action"`
	App     string    `json:"app,omitempty"`
	Target  string    `json:"target,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Token   string    `json:"token,omitempty"`
	TokenID string    `json:"tokenId,omitempty"`
	Address string    `json:"address"`
	Via     string    `json:"via,omitempty"`
	Outcome string    `json:"outcome"`
	Error   string    `json:"error,omitempty"`
	Ms      float64   `json:"ms"`
	LeftOut uint64    `json:"leftOut,omitempty"` // refusals before this one
}

func auditOf(r *orlav1.AuditRecord) auditShape {
	return auditShape{
		Time: r.GetTime().AsTime(), Node: r.GetNode(), Action: r.GetAction(), App: r.GetApp(), Target: r.GetTarget(), Detail: r.GetDetail(),
		Token: r.GetToken(), TokenID: r.GetTokenId(), Address: r.GetAddress(), Via: r.GetVia(), Outcome: r.GetOutcome(), Error: r.GetError(),
		Ms: r.GetMs(), LeftOut: r.GetLeftOut(),
	}
}

type tokenShape struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	Apps    []string  `json:"apps"`
	Created time.Time `json:"created"`
	Secret  string    `json:"secret,omitempty"` // only when it is made
}

func tokenOf(t *orlav1.Token, secret string) tokenShape {
	role := strings.ToLower(strings.TrimPrefix(t.GetRole().String(), "ROLE_"))
	return tokenShape{ID: t.GetId(), Name: t.GetName(), Role: role, Apps: orEmpty(t.GetApps()), Created: t.GetCreated().AsTime(), Secret: secret}
}

type revokedShape struct {
	ID string `json:"id"`
}

// shapes converts a list.
func shapes[M, S any](list []M, of func(M) S) []S {
	all := make([]S, len(list))
	for i, m := range list {
		all[i] = of(m)
	}
	return all
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// manifestJSON returns a manifest as the API has it in JSON.
func manifestJSON(m *orlav1.Manifest) (json.RawMessage, error) {
	b, err := protojson.Marshal(m)
	return b, err
}

// short returns a digest in the length that people compare.
func short(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) < 12 {
		return digest
	}
	return algorithm + ":" + hex[:12]
}

func when(t time.Time) string {
	if t.Unix() <= 0 {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
