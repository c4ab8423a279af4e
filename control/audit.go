package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Origin is where a call comes from that another node has passed on.
type Origin struct {
	// Address is the IP address of who called that node.
	Address string
	// Via is the node's name.
	Via string
}

type originKey struct{}

// WithOrigin notes where a call comes from. Only who knows that another node of the
// cluster is at the other end of the connection may believe what that says.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// audited returns what a procedure does, in words: "remove app". It is empty for those
// that change nothing that is served or kept. A procedure whose name does not say that
// it only looks is taken to change something.
func audited(procedure string) string {
	name := path.Base(procedure)
	for _, harmless := range []string{"Get", "List", "Show", "Find", "Explain", "Tail", "Upload"} {
		if strings.HasPrefix(name, harmless) {
			return ""
		}
	}
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// auditor has every change, and every refusal of one, written to the audit log, after
// the fact. It comes before the authoriser, whose refusals it sees.
type auditor struct{ s *Service }

var _ connect.Interceptor = auditor{}

// WrapUnary implements connect.Interceptor.
func (a auditor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if audited(r.Spec().Procedure) == "" {
			return next(ctx, r)
		}
		e := a.begin(ctx, r.Spec().Procedure, r.Header(), r.Peer().Addr)
		e.request(r.Any())
		res, err := next(ctx, r)
		if err == nil {
			e.response(res.Any())
		}
		e.end(err)
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no use for it.
func (a auditor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (a auditor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if audited(conn.Spec().Procedure) == "" {
			return next(ctx, conn)
		}
		e := a.begin(ctx, conn.Spec().Procedure, conn.RequestHeader(), conn.Peer().Addr)
		err := next(ctx, auditedConn{conn, e})
		e.end(err)
		return err
	}
}

// auditedConn shows the messages of a call to its audit.
type auditedConn struct {
	connect.StreamingHandlerConn
	audit *audit
}

// Receive implements connect.StreamingHandlerConn.
func (c auditedConn) Receive(m any) error {
	err := c.StreamingHandlerConn.Receive(m)
	if err == nil {
		c.audit.request(m)
	}
	return err
}

// Send implements connect.StreamingHandlerConn.
func (c auditedConn) Send(m any) error {
	c.audit.response(m)
	return c.StreamingHandlerConn.Send(m)
}

// audit is the record of one call while it is made.
type audit struct {
	s       *Service
	started time.Time

	mu     sync.Mutex // guards what follows: nodes answer at any time
	record *orlav1.AuditRecord
	trial  bool // the call asks what would happen
}

func (a auditor) begin(ctx context.Context, procedure string, h http.Header, addr string) *audit {
	from, ok := ctx.Value(originKey{}).(Origin)
	if !ok {
		from.Address = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			from.Address = host
		}
	}
	id, _ := authoriser{a.s.catalog}.identify(h) // nobody, if the token is not known
	return &audit{s: a.s, started: time.Now(), record: &orlav1.AuditRecord{
		Id: rand.Text(), Node: a.s.cfg.Node, Action: audited(procedure), Token: id.name, TokenId: id.id,
		Address: clip(from.Address), Via: clip(from.Via),
	}}
}

// maxAuditText bounds the bytes of each text in a record.
const maxAuditText = 300

// request takes what the call is about from its message: names, never values.
func (e *audit) request(m any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record
	if m, ok := m.(interface{ GetDryRun() bool }); ok {
		e.trial = m.GetDryRun()
	}
	switch m := m.(type) {
	case *orlav1.DeployRequest:
		r.App = m.GetManifest().GetName()
		if m.GetManifest().GetKind() == orlav1.Kind_KIND_ROUTES {
			r.Action = "push routes"
		}
	case *orlav1.CreateTokenRequest:
		r.Target = m.GetName()
		r.Detail = strings.TrimSpace(roleName(m.GetRole()) + " " + strings.Join(m.GetApps(), " "))
	case *orlav1.RevokeTokenRequest:
		r.Target, r.Detail = m.GetId(), e.s.catalog.tokenName(m.GetId())
	case *orlav1.DrainNodeRequest:
		r.Target = m.GetNode()
		if m.GetResume() {
			r.Action = "resume node"
		}
	case *orlav1.ImportCertificateRequest:
		r.Target = m.GetHost()
	case *orlav1.RemoveCertificateRequest:
		r.Target = m.GetHost()
	case *orlav1.RenewCertificateRequest:
		r.Target = m.GetHost()
	default:
		r.App, r.Target = subjectOf(m)
	}
	r.App, r.Target, r.Detail = clip(r.App), clip(r.Target), clip(r.Detail)
}

// subjectOf returns the app that a message names, and the thing of that app.
func subjectOf(m any) (app, target string) {
	var parts []string
	if m, ok := m.(interface{ GetApp() string }); ok {
		app = m.GetApp()
	}
	if m, ok := m.(interface{ GetName() string }); ok {
		if app == "" {
			app = m.GetName()
		} else {
			parts = append(parts, m.GetName())
		}
	}
	if m, ok := m.(interface{ GetStore() string }); ok && m.GetStore() != "" {
		parts = append(parts, m.GetStore())
	}
	if m, ok := m.(interface{ GetKey() string }); ok {
		parts = append(parts, m.GetKey())
	}
	return app, strings.Join(parts, "/")
}

// response takes what has come of the call from what it answers.
func (e *audit) response(m any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record
	if m, ok := m.(interface{ GetLive() *orlav1.Live }); ok && m.GetLive() != nil {
		live := m.GetLive()
		r.Detail = fmt.Sprintf("release %d at revision %d", live.GetRelease(), live.GetRevision())
		if live.GetUnchanged() {
			r.Detail += ", which was live already"
		}
		if live.GetUnproven() != "" {
			r.Outcome, r.Error = outcomeUnproven, clip(live.GetUnproven())
		}
		return
	}
	switch m := m.(type) {
	case *orlav1.CreateTokenResponse:
		r.Target = clip(m.GetToken().GetName() + " " + m.GetToken().GetId())
	case interface{ GetCertificate() *orlav1.Certificate }:
		c := m.GetCertificate()
		r.Detail = clip(fmt.Sprintf("SHA-256 %s until %s", c.GetFingerprint(), c.GetNotAfter().AsTime().Format(time.DateOnly)))
	case *orlav1.RotateRootResponse:
		r.Detail = clip(fmt.Sprintf("SHA-256 %s in place of %s", m.GetRoot().GetFingerprint(), m.GetFormer().GetFingerprint()))
	case interface{ GetRevision() uint64 }:
		r.Detail = fmt.Sprintf("revision %d", m.GetRevision())
	case interface{ GetVersion() uint64 }:
		r.Detail = fmt.Sprintf("version %d", m.GetVersion())
	}
}

// How a change ended, where the code of an error does not say it.
const (
	outcomeOK       = "ok"
	outcomeUnproven = "unproven"
)

// end writes the record.
func (e *audit) end(err error) {
	e.mu.Lock()
	r := e.record
	r.Time, r.Ms = timestamppb.Now(), milliseconds(time.Since(e.started))
	code := connect.CodeOf(err)
	if err != nil {
		r.Outcome, r.Error = code.String(), clip(errorText(err))
	}
	if r.GetOutcome() == "" {
		r.Outcome = outcomeOK
	}
	skip := e.trial && (err == nil || code != connect.CodePermissionDenied && code != connect.CodeUnauthenticated)
	e.mu.Unlock()
	if !skip {
		e.s.ledger.write(r, err == nil)
	}
}

// errorText is an error without its code.
func errorText(err error) string {
	if ce, ok := err.(*connect.Error); ok { //nolint:errorlint // what wraps it has more to say
		return ce.Message()
	}
	return err.Error()
}

// clip cuts a text, and makes it one that can be kept.
func clip(s string) string {
	if len(s) > maxAuditText {
		s = s[:maxAuditText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
