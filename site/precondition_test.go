package site

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPreconditions(t *testing.T) {
	const etag = `"here"`
	v := validators{
		etag:          etag,
		modified:      released.Truncate(time.Second),
		modifiedField: one(released.Format(http.TimeFormat)),
	}
	same := released.Format(http.TimeFormat)
	before := released.Add(-time.Second).Format(http.TimeFormat)
	after := released.Add(time.Second).Format(http.TimeFormat)
	for _, tt := range []struct {
		name   string
		fields []string
		want   int
	}{
		{"none", nil, 0},

		{"If-None-Match same", []string{"If-None-Match", etag}, 304},
		{"If-None-Match weak", []string{"If-None-Match", "W/" + etag}, 304},
		{"If-None-Match other", []string{"If-None-Match", `"there"`}, 0},
		{"If-None-Match list", []string{"If-None-Match", `"a", W/"b,c" ,, ` + etag}, 304},
		{"If-None-Match lines", []string{"If-None-Match", `"a"`, "If-None-Match", etag}, 304},
		{"If-None-Match any", []string{"If-None-Match", " * "}, 304},
		{"If-None-Match any in a list is malformed", []string{"If-None-Match", `"a", *`}, 0},
		{"If-None-Match malformed", []string{"If-None-Match", "here"}, 0},
		{"If-None-Match malformed before", []string{"If-None-Match", "x, " + etag}, 0},
		{"If-None-Match malformed after", []string{"If-None-Match", etag + ", x"}, 304},
		{"If-None-Match without comma", []string{"If-None-Match", `"a" ` + etag}, 0},
		{"If-None-Match with space inside", []string{"If-None-Match", `"he re"`}, 0},
		{"If-None-Match unterminated", []string{"If-None-Match", `"here`}, 0},
		{"If-None-Match in small w", []string{"If-None-Match", `w/` + etag}, 0},
		{"If-None-Match empty", []string{"If-None-Match", ""}, 0},
		{"If-None-Match too long", []string{"If-None-Match", strings.Repeat(`"a",`, maxETagListBytes/4) + etag}, 0},

		{"If-Match same", []string{"If-Match", etag}, 0},
		{"If-Match weak", []string{"If-Match", "W/" + etag}, 412},
		{"If-Match other", []string{"If-Match", `"there"`}, 412},
		{"If-Match list", []string{"If-Match", `"a",` + etag}, 0},
		{"If-Match any", []string{"If-Match", "*"}, 0},
		{"If-Match malformed", []string{"If-Match", "x"}, 412},

		{"If-Modified-Since same", []string{"If-Modified-Since", same}, 304},
		{"If-Modified-Since later", []string{"If-Modified-Since", after}, 304},
		{"If-Modified-Since earlier", []string{"If-Modified-Since", before}, 0},
		{"If-Modified-Since in RFC 850 form", []string{"If-Modified-Since", released.Format("Monday, 02-Jan-06 15:04:05 GMT")}, 304},
		{"If-Modified-Since in asctime form", []string{"If-Modified-Since", released.Format(time.ANSIC)}, 304},
		{"If-Modified-Since malformed", []string{"If-Modified-Since", "yesterday"}, 0},
		{"If-Modified-Since twice", []string{"If-Modified-Since", same, "If-Modified-Since", same}, 0},

		{"If-Unmodified-Since same", []string{"If-Unmodified-Since", same}, 0},
		{"If-Unmodified-Since earlier", []string{"If-Unmodified-Since", before}, 412},
		{"If-Unmodified-Since later", []string{"If-Unmodified-Since", after}, 0},
		{"If-Unmodified-Since malformed", []string{"If-Unmodified-Since", "x"}, 0},

		// RFC 9110 §13.2.2
		{"tag before date: other, unmodified", []string{"If-None-Match", `"x"`, "If-Modified-Since", same}, 0},
		{"tag before date: same, modified", []string{"If-None-Match", etag, "If-Modified-Since", before}, 304},
		{"If-Match before If-Unmodified-Since", []string{"If-Match", etag, "If-Unmodified-Since", before}, 0},
		{"If-Match failing before If-None-Match", []string{"If-Match", `"x"`, "If-None-Match", etag}, 412},
		{"If-Match holding, If-None-Match too", []string{"If-Match", etag, "If-None-Match", etag}, 304},
		{"If-Unmodified-Since failing before If-None-Match", []string{"If-Unmodified-Since", before, "If-None-Match", etag}, 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := make(http.Header)
			for i := 0; i < len(tt.fields); i += 2 {
				h.Add(tt.fields[i], tt.fields[i+1])
			}
			if got := v.precondition(h); got != tt.want {
				t.Errorf("precondition(%q) = %d, want %d", tt.fields, got, tt.want)
			}
		})
	}
	undated := validators{etag: etag}
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		if got := undated.precondition(http.Header{name: {same}}); got != 0 {
			t.Errorf("%s without a date of our own: %d, want 0", name, got)
		}
	}
}

func TestIfRange(t *testing.T) {
	const etag = `"here"`
	v := validators{etag: etag, modified: released.Truncate(time.Second), modifiedField: one(released.Format(http.TimeFormat))}
	for _, tt := range []struct {
		name  string
		lines []string
		want  bool
	}{
		{"absent", nil, true},
		{"same tag", []string{etag}, true},
		{"other tag", []string{`"there"`}, false},
		{"weak tag", []string{"W/" + etag}, false},
		{"tag and more", []string{etag + ", " + etag}, false},
		{"unterminated tag", []string{`"here`}, false},
		{"same date", []string{released.Format(http.TimeFormat)}, true},
		{"later date", []string{released.Add(time.Second).Format(http.TimeFormat)}, false},
		{"earlier date", []string{released.Add(-time.Second).Format(http.TimeFormat)}, false},
		{"neither", []string{"x"}, false},
		{"empty", []string{""}, false},
		{"twice", []string{etag, etag}, false},
	} {
		h := make(http.Header)
		if tt.lines != nil {
			h["If-Range"] = tt.lines
		}
		if got := v.rangeHolds(h); got != tt.want {
			t.Errorf("%s: If-Range %q holds: %t, want %t", tt.name, tt.lines, got, tt.want)
		}
	}
}

// What net/http's ServeContent answers to conditional requests and ranges is what
// this package answers, where both do what RFC 9110 leaves no choice about.
func TestAgreesWithServeContent(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	d := openDir(t)
	f := file(t, d, "/a.txt", content)
	s := newSite(t, d, siteWith(f))
	etag := s.paths["/a.txt"].identity.etag()
	reference := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", etag)
		http.ServeContent(w, r, "a.txt", released, strings.NewReader(content))
	})

	tag := rapid.SampledFrom([]string{etag, "W/" + etag, `"other"`, `W/"other"`, `""`, `"a,b"`, `"é"`})
	list := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{
			"*", strings.Join(rapid.SliceOfN(tag, 1, 4).Draw(t, "tags"), rapid.SampledFrom([]string{",", ", ", " ,\t"}).Draw(t, "separator")),
		}).Draw(t, "list")
	})
	date := rapid.Custom(func(t *rapid.T) string {
		return released.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "seconds")) * time.Second).Format(http.TimeFormat)
	})
	ranges := rapid.Custom(func(t *rapid.T) string {
		from := rapid.Int64Range(0, 1100).Draw(t, "from")
		return "bytes=" + rapid.SampledFrom([]string{
			rapid.Just("-"+decimal(from+1)).Draw(t, "suffix"),
			decimal(from) + "-",
			decimal(from) + "-" + decimal(from+rapid.Int64Range(0, 1100).Draw(t, "length")),
		}).Draw(t, "range")
	})
	rapid.Check(t, func(t *rapid.T) {
		var fields []string
		maybe := func(name string, value *rapid.Generator[string]) {
			if rapid.Bool().Draw(t, name+" sent") {
				fields = append(fields, name, value.Draw(t, name))
			}
		}
		maybe("If-Match", list)
		maybe("If-None-Match", list)
		maybe("If-Modified-Since", date)
		maybe("If-Unmodified-Since", date)
		method := rapid.SampledFrom([]string{http.MethodGet, http.MethodHead}).Draw(t, "method")
		if method == http.MethodGet { // a HEAD's Range is ignored here, not there
			maybe("Range", ranges)
			maybe("If-Range", rapid.OneOf(tag, date))
		}
		got, want := do(s, method, "/a.txt", fields...), do(reference, method, "/a.txt", fields...)
		compareAnswers(t, fields, got, want)
	})
}

func compareAnswers(t *rapid.T, fields []string, got, want *httptest.ResponseRecorder) {
	if got.Code != want.Code {
		t.Fatalf("%q: %d, ServeContent says %d", fields, got.Code, want.Code)
	}
	names := []string{"Content-Range"}
	if got.Code < 300 {
		names = append(names, "Etag", "Last-Modified", "Content-Length", "Content-Type", "Accept-Ranges")
	}
	for _, name := range names {
		if g, w := got.Header().Get(name), want.Header().Get(name); g != w {
			t.Fatalf("%q: %s is %q, ServeContent says %q", fields, name, g, w)
		}
	}
	if got.Code < 300 && got.Body.String() != want.Body.String() {
		t.Fatalf("%q: the body is not ServeContent's", fields)
	}
}

// slowMatchETag is matchETag for well-formed lists of tags without commas.
func slowMatchETag(list, etag string, how comparison) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	for member := range strings.SplitSeq(list, ",") {
		member = strings.Trim(member, " \t")
		if how == weak {
			member = strings.TrimPrefix(member, "W/")
		}
		if member == etag {
			return true
		}
	}
	return false
}

func FuzzETagList(f *testing.F) {
	for _, seed := range []string{"*", `"x"`, `W/"x"`, `"a", "b",W/"x"`, `"a`, `W/`, `,,"x",`, `"a""x"`} {
		f.Add(seed)
	}
	const etag = `"x"`
	f.Fuzz(func(t *testing.T, list string) {
		gotWeak, gotStrong := matchETag([]string{list}, etag, weak), matchETag([]string{list}, etag, strong)
		if gotStrong && !gotWeak {
			t.Errorf("%q matches strongly, not weakly", list)
		}
		// A match must be visible in the text at least; a well-formed list is judged
		// as the slow reader does.
		if gotWeak && strings.Trim(list, " \t") != "*" && !strings.Contains(list, etag) {
			t.Errorf("%q matches %s", list, etag)
		}
		for member := range strings.SplitSeq(list, ",") {
			if tag, rest, ok := cutETag(strings.Trim(member, " \t")); !ok || rest != "" || strings.Contains(tag, ",") {
				return
			}
		}
		if len(list) <= maxETagListBytes && gotStrong != slowMatchETag(list, etag, strong) {
			t.Errorf("strong: %q matches %s: %t", list, etag, gotStrong)
		}
		if len(list) <= maxETagListBytes && gotWeak != slowMatchETag(list, etag, weak) {
			t.Errorf("weak: %q matches %s: %t", list, etag, gotWeak)
		}
	})
}
