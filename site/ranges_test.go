package site

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func siteWith(files ...*orlav1.File) *orlav1.Site { return &orlav1.Site{Files: files} }

func TestParseRange(t *testing.T) {
	const size = 1000
	type ranges = []byteRange
	for _, tt := range []struct {
		field  string
		answer rangeAnswer
		want   []byteRange
	}{
		{"bytes=0-0", rangePartial, ranges{{0, 1}}},
		{"bytes=0-999", rangePartial, ranges{{0, 1000}}},
		{"bytes=10-19", rangePartial, ranges{{10, 10}}},
		{"bytes=990-", rangePartial, ranges{{990, 10}}},
		{"bytes=990-5000", rangePartial, ranges{{990, 10}}},
		{"bytes=-10", rangePartial, ranges{{990, 10}}},
		{"bytes=-5000", rangePartial, ranges{{0, 1000}}},
		{"Bytes=0-0", rangePartial, ranges{{0, 1}}},
		{"bytes= 0-0 ,\t500-509 ", rangePartial, ranges{{0, 1}, {500, 10}}},
		{"bytes=,0-0,,", rangePartial, ranges{{0, 1}}},
		{"bytes=0-99999999999999999999999", rangePartial, ranges{{0, 1000}}},
		{"bytes=-99999999999999999999999", rangePartial, ranges{{0, 1000}}},

		{"bytes=500-509,0-9", rangePartial, ranges{{0, 10}, {500, 10}}},
		{"bytes=0-9,5-14", rangePartial, ranges{{0, 15}}},
		{"bytes=0-99,10-19", rangePartial, ranges{{0, 100}}},
		{"bytes=0-9,10-19", rangePartial, ranges{{0, 20}}},
		{"bytes=0-9,90-99", rangePartial, ranges{{0, 100}}},
		{"bytes=0-9,91-99", rangePartial, ranges{{0, 10}, {91, 9}}},
		{"bytes=0-9,2000-", rangePartial, ranges{{0, 10}}},

		{"bytes=1000-", rangeUnsatisfiable, nil},
		{"bytes=1000-2000,5000-", rangeUnsatisfiable, nil},
		{"bytes=-0", rangeUnsatisfiable, nil},
		{"bytes=99999999999999999999999-", rangeUnsatisfiable, nil},

		{"", rangeIgnored, nil},
		{"bytes", rangeIgnored, nil},
		{"bytes=", rangeIgnored, nil},
		{"bytes=,", rangeIgnored, nil},
		{"bytes=-", rangeIgnored, nil},
		{"bytes=a-b", rangeIgnored, nil},
		{"bytes=5", rangeIgnored, nil},
		{"bytes=9-5", rangeIgnored, nil},
		{"bytes=+1-5", rangeIgnored, nil},
		{"bytes=1-5-9", rangeIgnored, nil},
		{"bytes=--5", rangeIgnored, nil},
		{"bytes=0-0,x", rangeIgnored, nil},
		{"bytes =0-0", rangeIgnored, nil},
		{"items=0-0", rangeIgnored, nil},
		{"bytes=" + strings.Repeat("0-0,", maxRanges+1), rangeIgnored, nil},
		{"bytes=" + strings.Repeat("0-0,", maxRanges), rangePartial, ranges{{0, 1}}},
		{"bytes=" + strings.Repeat(" ", maxRangeBytes) + "0-0", rangeIgnored, nil},
	} {
		got, answer := parseRange(tt.field, size)
		if answer != tt.answer || !slices.Equal(got, tt.want) {
			t.Errorf("parseRange(%q) = %v, %d, want %v, %d", tt.field, got, answer, tt.want, tt.answer)
		}
	}
	if _, answer := parseRange("bytes=0-", 0); answer != rangeIgnored {
		t.Errorf("range of nothing: %d, want it ignored", answer)
	}
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=-5,3-,9-10", "bytes=99999999999999999999-", "bytes=1-0", "bytes=, ,5-"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		ranges, answer := parseRange(field, size)
		if (answer == rangePartial) != (len(ranges) > 0) || len(ranges) > maxRanges {
			t.Fatalf("%d ranges, answer %d", len(ranges), answer)
		}
		end := int64(-mergeGap - 1)
		for _, r := range ranges {
			if r.length <= 0 || r.start <= end+mergeGap || r.end() > size {
				t.Fatalf("parseRange(%q, %d) = %v", field, size, ranges)
			}
			end = r.end()
		}
	})
}

// What the parts of an answer hold, put where Content-Range says, are the bytes that
// the client asked for, and few others.
func TestMultipleRanges(t *testing.T) {
	var b strings.Builder
	for i := range 2000 {
		b.WriteString(strconv.Itoa(i))
	}
	small := b.String()
	large := strings.Repeat(small, 80) // is read from its file
	d := openDir(t)
	s := newSite(t, d, siteWith(file(t, d, "/small.txt", small), file(t, d, "/large.txt", large)))
	for target, content := range map[string]string{"/small.txt": small, "/large.txt": large} {
		if size := len(content); (size > maxCachedBytes) != (content == large) {
			t.Fatalf("%s has %d bytes, which is the wrong side of %d", target, size, maxCachedBytes)
		}
		rapid.Check(t, func(t *rapid.T) {
			var specs []string
			var asked []byteRange
			for range rapid.IntRange(2, maxRanges).Draw(t, "ranges") {
				from := rapid.IntRange(0, len(content)-1).Draw(t, "from")
				to := min(from+rapid.IntRange(0, 500).Draw(t, "length"), len(content)-1)
				specs = append(specs, strconv.Itoa(from)+"-"+strconv.Itoa(to))
				asked = append(asked, byteRange{int64(from), int64(to - from + 1)})
			}
			got := readParts(t, s, target, content, "bytes="+strings.Join(specs, ","))
			for _, a := range asked {
				if !slices.ContainsFunc(got, func(g byteRange) bool { return g.start <= a.start && a.end() <= g.end() }) {
					t.Fatalf("%s %v: %v is missing", target, specs, a)
				}
			}
		})
	}
}

// readParts asks for ranges and returns those that came; their bytes must be the
// content's.
func readParts(t *rapid.T, h http.Handler, target, content, field string) (got []byteRange) {
	w := get(h, target, "Range", field)
	if w.Code != http.StatusPartialContent {
		t.Fatalf("%s: %d", field, w.Code)
	}
	if length := w.Header().Get("Content-Length"); length != strconv.Itoa(w.Body.Len()) {
		t.Fatalf("%s: Content-Length %s, %d bytes came", field, length, w.Body.Len())
	}
	mediaType, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "multipart/byteranges" {
		return []byteRange{checkPart(t, content, w.Header().Get("Content-Range"), w.Body)}
	}
	if w.Header().Get("Content-Range") != "" {
		t.Fatalf("a multipart answer has a Content-Range")
	}
	for m := multipart.NewReader(w.Body, params["boundary"]); ; {
		part, err := m.NextRawPart()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := part.Header.Get("Content-Type"), "text/plain; charset=utf-8"; got != want {
			t.Fatalf("a part's Content-Type is %q, want %q", got, want)
		}
		got = append(got, checkPart(t, content, part.Header.Get("Content-Range"), part))
	}
}

// checkPart compares a body with the part of content that Content-Range names.
func checkPart(t *rapid.T, content, contentRange string, body io.Reader) byteRange {
	bytes, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	unit, rest, _ := strings.Cut(contentRange, " ")
	span, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || unit != "bytes" || size != strconv.Itoa(len(content)) {
		t.Fatalf("Content-Range %q", contentRange)
	}
	if content[from:to+1] != string(bytes) {
		t.Fatalf("%s has other bytes", contentRange)
	}
	return byteRange{int64(from), int64(to - from + 1)}
}
