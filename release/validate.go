package release

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// What one manifest may have.
const (
	maxHosts     = 499 // so that taking all of them and giving as many up fits one commit of the register
	maxRoutes    = 10_000
	maxFunctions = 1000
	maxFiles     = 200_000 // of the site, and of all functions together

	// A request may have to look at every route with conditions, and each looks
	// through the request's query.
	maxConditioned = 1000
	// Routes narrowed by match.hosts count once for each host.
	maxNarrowed = 20_000

	maxName   = 63
	maxSource = 1024 // bytes of where something was written
)

// Validate returns what is wrong with a manifest that a client sends, as far as
// it can be known without any I/O; nil if nothing is. What it accepts, [Trees]
// makes trees of and [Encode] encodes unless it is too large. It takes nothing
// for granted, not even that the manifest came out of [Decode].
func Validate(m *orlav1.Manifest) Problems { return validate(m, false) }

// ValidateStored is Validate for a manifest that a node has completed: files may
// have variants, functions an ABI.
func ValidateStored(m *orlav1.Manifest) Problems { return validate(m, true) }

func validate(m *orlav1.Manifest, stored bool) Problems {
	v := validator{manifest: m, stored: stored}
	v.known(m)
	v.head()
	v.hosts()
	if v.counts() {
		v.site()
		v.functions()
		v.tls()
		v.allRoutes()
	}
	return v.all()
}

// validator looks through one manifest.
type validator struct {
	findings
	manifest *orlav1.Manifest
	stored   bool // by a node, which adds to what clients send

	functionNames   []string // in order
	functionsByName map[string]*orlav1.Function
	// unroutable is set when hosts or paths are so wrong that trees cannot be made.
	unroutable bool
}

// known refuses fields that this version does not know: what they ask for would
// be left out in silence.
func (v *validator) known(m *orlav1.Manifest) {
	if at, ok := findUnknown(m.ProtoReflect(), "manifest"); ok {
		v.reject("", "%s has a part that this version of the node does not know; update the node, or deploy with the version of orla that the node has", at)
	}
}

// findUnknown returns the name of a message that has unknown fields.
func findUnknown(m protoreflect.Message, name string) (at string, found bool) {
	if len(m.GetUnknown()) > 0 {
		return name, true
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsMap() {
			return true
		}
		if !field.IsList() {
			at, found = findUnknown(value.Message(), string(field.Name()))
			return !found
		}
		for i := range value.List().Len() {
			if at, found = findUnknown(value.List().Get(i).Message(), string(field.Name())); found {
				break
			}
		}
		return !found
	})
	return at, found
}

func (v *validator) head() {
	m := v.manifest
	v.name("name", m.GetName())
	switch m.GetKind() {
	case orlav1.Kind_KIND_APP:
		if m.GetSite() == nil && len(m.GetFunctions()) == 0 && len(m.GetRoutes()) == 0 {
			v.reject("", "the app has no site, no function and no route: there is nothing to serve; add one of them, or take the app off with \"orla remove\"")
		}
	case orlav1.Kind_KIND_ROUTES:
		if m.GetSite() != nil {
			v.reject("site", "a route set has no site; deploy it as an app")
		}
		if len(m.GetFunctions()) > 0 {
			v.reject("functions", "a route set has no functions; deploy it as an app")
		}
	default:
		v.reject("kind", "the manifest is neither an app nor a route set; set kind to KIND_APP or KIND_ROUTES")
	}
}

// name checks the name of an app, route set or function, and reports whether it
// is one.
func (v *validator) name(field, name string) bool {
	if validName(name) {
		return true
	}
	if name == "" {
		v.reject(field, "the name is empty; choose one of lower-case letters, digits and inner hyphens, such as \"shop\"")
	} else {
		v.reject(field, "%s is not a name; write 1 to %d lower-case letters, digits and inner hyphens, such as \"shop\"", quote(name), maxName)
	}
	return false
}

func validName(name string) bool {
	if name == "" || len(name) > maxName || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

func (v *validator) hosts() {
	hosts := v.manifest.GetHosts()
	switch {
	case len(hosts) == 0:
		v.reject("hosts", "there is no host; name one, or \"*\" for every host that nobody else owns")
	case len(hosts) > maxHosts:
		v.reject("hosts", "there are %d hosts, the most is %d; split them over several apps or route sets", len(hosts), maxHosts)
		hosts = nil
	}
	v.unroutable = len(hosts) == 0
	seen := make(map[string]bool, len(hosts))
	for i, h := range hosts {
		field := fmt.Sprintf("hosts[%d]", i)
		canonical, err := router.ParseHostPattern(h)
		switch {
		case err != nil:
			v.rejectError(field, err)
		case canonical != h:
			v.reject(field, "host %s is not in its canonical form; write %q", quote(h), canonical)
		case seen[h]:
			v.reject(field, "host %q is there twice; remove one", h)
		default:
			seen[h] = true
			continue
		}
		v.unroutable = true
	}
}

// counts reports whether the manifest is small enough to be looked at closely.
func (v *validator) counts() bool {
	m := v.manifest
	files := 0
	for _, fn := range m.GetFunctions() {
		files += len(fn.GetFiles())
	}
	before := len(v.problems)
	for _, c := range []struct {
		field, what string
		count, most int
		advice      string
	}{
		{"site", "files", len(m.GetSite().GetFiles()), maxFiles, "split the site over several apps"},
		{"functions", "functions", len(m.GetFunctions()), maxFunctions, "split them over several apps"},
		{"functions", "files for functions", files, maxFiles, "pack them into fewer"},
		{"routes", "routes", len(m.GetRoutes()), maxRoutes, "cover several with a parameter or star, or split them over several apps or route sets"},
	} {
		if c.count > c.most {
			v.reject(c.field, "there are %d %s, the most is %d; %s", c.count, c.what, c.most, c.advice)
		}
	}
	return len(v.problems) == before
}

// source checks where something was written, which goes into messages and onto
// terminals.
func (v *validator) source(field, s string) {
	if len(s) > maxSource || !printable(s) {
		v.reject(field+".source", "%s is no place in a file; write one such as \"orla.toml:14\", or leave it out", quote(s))
	}
}

// printable reports whether s is UTF-8 without control and formatting
// characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// duplicate returns the index of the first string that is there before.
func duplicate(all []string) (i int, ok bool) {
	seen := make(map[string]bool, len(all))
	i = slices.IndexFunc(all, func(s string) bool {
		defer func() { seen[s] = true }()
		return seen[s]
	})
	return i, i >= 0
}
