package app

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Format returns the text of a routes.toml that has the routes of m. Read again
// it gives an equal manifest, but for the lines that routes come from. Routes to
// a function or a site are written too, for an app's file: a route set has
// neither.
func Format(m *orlav1.Manifest) ([]byte, error) {
	var b strings.Builder
	if m.GetKind() == orlav1.Kind_KIND_APP {
		fmt.Fprintf(&b, "# The routes of app %q, as [[routes]] of its %s.\n", m.GetName(), AppFile)
	}
	fmt.Fprintf(&b, "name = %s\nhosts = %s\n", quote(m.GetName()), list(m.GetHosts()))
	b.WriteString(formatTLS(m.GetTls()))
	for i, r := range m.GetRoutes() {
		text, err := formatRoute(r)
		if err != nil {
			return nil, fmt.Errorf("write route %d (%s): %w", i+1, r.GetMatch().GetPath(), err)
		}
		b.WriteString("\n[[routes]]\n" + text)
	}
	return []byte(b.String()), nil
}

// formatTLS returns the table [tls], with the client CAs' text in it.
func formatTLS(t *orlav1.Tls) string {
	if t == nil {
		return ""
	}
	lines := new(inline)
	if t.Redirect != nil {
		lines.add("redirect", strconv.FormatBool(t.GetRedirect()))
	}
	if h := t.GetHsts(); h != nil {
		inner := new(inline)
		inner.add("max_age", quote(formatAge(h.GetMaxAge().AsDuration())))
		inner.flag("include_subdomains", h.GetIncludeSubdomains())
		inner.flag("preload", h.GetPreload())
		lines.add("hsts", inner.String())
	}
	lines.flag("on_demand", t.GetOnDemand())
	if len(t.GetClientCa()) > 0 {
		lines.add("client_ca", "[\n'''\n"+strings.Join(t.GetClientCa(), "''',\n'''\n")+"''',\n]")
	}
	return "\n[tls]\n" + strings.Join(lines.members, "\n") + "\n"
}

// formatAge writes whole days as such.
func formatAge(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	return d.String()
}

// inline collects the members of an inline table.
type inline struct {
	members []string
	err     error
}

func (t *inline) add(key, value string) { t.members = append(t.members, key+" = "+value) }

func (t *inline) text(key, value string) {
	if value != "" {
		t.add(key, quote(value))
	}
}

func (t *inline) flag(key string, on bool) {
	if on {
		t.add(key, "true")
	}
}

func (t *inline) list(key string, values []string) {
	if len(values) > 0 {
		t.add(key, list(values))
	}
}

// named is a Field or a Condition.
type named interface {
	GetName() string
	GetValue() string
}

// addPairs writes names with their values, and a name that comes again as a
// list if lists are allowed.
func addPairs[T named](t *inline, key string, pairs []T, lists bool) {
	if len(pairs) == 0 {
		return
	}
	var order []string
	values := make(map[string][]string)
	for _, p := range pairs {
		name := p.GetName()
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = append(values[name], p.GetValue())
	}
	inner := new(inline)
	for _, name := range order {
		switch v := values[name]; {
		case len(v) == 1:
			inner.add(bareOrQuoted(name), quote(v[0]))
		case lists:
			inner.add(bareOrQuoted(name), list(v))
		default:
			t.err = fmt.Errorf("%q is there twice in %s, which the file cannot say", name, key)
		}
	}
	t.add(key, inner.String())
}

func (t *inline) String() string {
	if len(t.members) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(t.members, ", ") + " }"
}

func formatRoute(r *orlav1.Route) (string, error) {
	line := new(inline)
	m := new(inline)
	m.text("path", r.GetMatch().GetPath())
	m.list("methods", r.GetMatch().GetMethods())
	addPairs(m, "headers", r.GetMatch().GetHeaders(), false)
	addPairs(m, "query", r.GetMatch().GetQuery(), false)
	m.list("hosts", r.GetMatch().GetHosts())
	m.text("client_cert", r.GetMatch().GetClientCert())
	if len(m.members) > 0 {
		line.add("match", m.String())
	}
	formatTarget(line, r)
	line.list("middleware", r.GetMiddleware())
	line.text("rewrite", r.GetRewrite())
	errs := []error{m.err, formatChanges(line, "headers", r.Headers), formatChanges(line, "request_headers", r.RequestHeaders)}
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	return strings.Join(line.members, "\n") + "\n", nil
}

func formatTarget(line *inline, r *orlav1.Route) {
	t := new(inline)
	switch target := r.GetTarget().(type) {
	case *orlav1.Route_Function:
		line.add("function", quote(target.Function))
	case *orlav1.Route_Site:
		line.add("site", "true")
	case *orlav1.Route_Proxy:
		t.add("to", list(target.Proxy.GetTo()))
		t.text("health", target.Proxy.GetHealth())
		if target.Proxy.GetTimeout() != nil {
			t.add("timeout", quote(target.Proxy.GetTimeout().AsDuration().String()))
		}
		line.add("proxy", t.String())
	case *orlav1.Route_Redirect:
		t.add("to", quote(target.Redirect.GetTo()))
		t.add("status", fmt.Sprint(target.Redirect.GetStatus()))
		line.add("redirect", t.String())
	case *orlav1.Route_Respond:
		t.add("status", fmt.Sprint(target.Respond.GetStatus()))
		t.text("body", target.Respond.GetBody())
		t.text("type", target.Respond.GetMediaType())
		line.add("respond", t.String())
	}
}

func formatChanges(line *inline, key string, c *orlav1.HeaderChanges) error {
	if c == nil {
		return nil
	}
	t := new(inline)
	addPairs(t, "set", c.GetSet(), false)
	addPairs(t, "add", c.GetAdd(), true)
	t.list("remove", c.GetRemove())
	line.add(key, t.String())
	return t.err
}

func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote returns s as a basic string of TOML 1.0.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func bareOrQuoted(key string) string {
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return !bare(r) }) {
		return quote(key)
	}
	return key
}
