package site

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestNegotiate(t *testing.T) {
	// In these entries br is the smallest, then zstd, then gzip.
	const content = "a content of some length"
	d := openDir(t)
	all, err := newEntry(file(t, d, "/a.txt", content, "gzip", "zstd", "br"), &sharedFields{types: map[string][]string{}})
	if err != nil {
		t.Fatal(err)
	}
	gzipOnly, err := newEntry(file(t, d, "/a.txt", content, "gzip"), &sharedFields{types: map[string][]string{}})
	if err != nil {
		t.Fatal(err)
	}
	const absent = "\x00"
	for _, tt := range []struct {
		name, field, want, wantGzipOnly string
	}{
		{"absent", absent, "identity", "identity"},
		{"empty", "", "identity", "identity"},
		{"browser", "gzip, deflate, br, zstd", "br", "gzip"},
		{"no br", "gzip, deflate, zstd", "zstd", "gzip"},
		{"old client", "gzip", "gzip", "gzip"},
		{"old name", "x-gzip", "gzip", "gzip"},
		{"any case", "GZip", "gzip", "gzip"},
		{"unknown only", "deflate, compress, zz", "identity", "identity"},
		{"weights decide", "br;q=0.5, gzip;q=0.8, zstd;q=0.799", "gzip", "gzip"},
		{"equal weights: the smallest", "gzip;q=0.5, br;q=0.5", "br", "gzip"},
		{"excluded", "br;q=0, gzip", "gzip", "gzip"},
		{"excluded with digits", "br;q=0.000, zstd;q=0.0, gzip;q=0.", "identity", "identity"},
		{"all", "*", "br", "gzip"},
		{"all but one", "*, br;q=0", "zstd", "gzip"},
		{"nothing", "*;q=0", "identity", "identity"},
		{"nothing but gzip", "*;q=0, gzip;q=0.1", "gzip", "gzip"},
		{"identity preferred", "identity, gzip;q=0.9", "identity", "identity"},
		{"identity as good", "identity, gzip", "gzip", "gzip"},
		{"identity worse", "identity;q=0.5, gzip", "gzip", "gzip"},
		{"identity excluded", "identity;q=0, gzip;q=0.001", "gzip", "gzip"},
		{"identity excluded, nothing else there", "identity;q=0, deflate", "identity", "identity"},
		{"rest preferred to identity", "identity;q=0.5, *;q=0.6", "br", "gzip"},
		{"rest does not ask for identity", "gzip;q=0.5, *;q=0.8", "br", "gzip"},
		{"all digits count", "br;q=0.05, zstd;q=0.049, gzip;q=0.051", "gzip", "gzip"},
		{"white space", " gzip ;\tq=1 , ,", "gzip", "gzip"},
		{"weight in capitals", "gzip;Q=1", "gzip", "gzip"},
		{"last of two counts", "gzip, gzip;q=0", "identity", "identity"},
		{"malformed members are absent", "br;q=x, zstd;level=3, ;q=1, gzip;q=0.2", "gzip", "gzip"},
		{"weight too high", "br;q=1.5, gzip;q=0.1", "gzip", "gzip"},
		{"weight too long", "br;q=0.1234, gzip;q=0.1", "gzip", "gzip"},
		{"weight negative", "br;q=-1", "identity", "identity"},
		{"too long", "br," + strings.Repeat(" ", maxAcceptEncodingBytes), "identity", "identity"},
		{"too many", strings.Repeat("x,", maxAcceptEncodingMembers) + "br", "identity", "identity"},
		{"just not too many", strings.Repeat("x,", maxAcceptEncodingMembers-1) + "br", "br", "identity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := []string{tt.field}
			if tt.field == absent {
				lines = nil
			}
			if got := codings[all.negotiate(lines).coding]; got != tt.want {
				t.Errorf("Accept-Encoding %q: %s, want %s", tt.field, got, tt.want)
			}
			if got := codings[gzipOnly.negotiate(lines).coding]; got != tt.wantGzipOnly {
				t.Errorf("Accept-Encoding %q with gzip alone: %s, want %s", tt.field, got, tt.wantGzipOnly)
			}
		})
	}
	if got := codings[all.negotiate([]string{"gzip;q=0.5", "zstd"}).coding]; got != "zstd" {
		t.Errorf("two lines: %s, want zstd", got)
	}
}

// slowAcceptEncoding is parseAcceptEncoding for fields without malformed members,
// the obvious way.
func slowAcceptEncoding(field string) map[string]int16 {
	q := make(map[string]int16)
	for member := range strings.SplitSeq(field, ",") {
		name, param, weighted := strings.Cut(member, ";")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if name == "x-gzip" {
			name = "gzip"
		}
		param = strings.TrimPrefix(strings.ToLower(strings.Trim(param, " \t")), "q=")
		weight := 1.0
		if weighted {
			var err error
			if weight, err = strconv.ParseFloat(param, 64); err != nil {
				return nil
			}
		}
		q[name] = int16(math.Round(weight * 1000))
	}
	return q
}

func FuzzAcceptEncoding(f *testing.F) {
	for _, seed := range []string{"", "gzip, deflate, br, zstd", "*;q=0.5, identity;q=0", "br;q=0.123,x-gzip;q=1.000", ";;,,=", "gzip;q=1.", "*;q=0.5", "br;q=0.05"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got := parseAcceptEncoding([]string{field})
		for c, q := range got {
			if q < unweighted || q > 1000 {
				t.Fatalf("weight of %s is %d", codings[c], q)
			}
		}
		if !wellFormedAcceptEncoding(field) {
			return
		}
		want := slowAcceptEncoding(field)
		for c, q := range got {
			explicit, ok := want[codings[c]]
			if rest, all := want["*"]; !ok && all && (codings[c] != "identity" || rest == 0) {
				explicit, ok = rest, true
			}
			if !ok {
				explicit = unweighted
			}
			if q != explicit {
				t.Errorf("Accept-Encoding %q: weight of %s is %d, want %d", field, codings[c], q, explicit)
			}
		}
	})
}

// wellFormedAcceptEncoding reports whether the slow parser can be trusted with a
// field.
func wellFormedAcceptEncoding(field string) bool {
	if len(field) > maxAcceptEncodingBytes || strings.Count(field, ",") >= maxAcceptEncodingMembers {
		return false
	}
	for member := range strings.SplitSeq(field, ",") {
		name, param, weighted := strings.Cut(member, ";")
		if strings.Trim(name, " \tabcdefghijklmnopqrstuvwxyz-*") != "" || strings.Trim(name, " \t") == "" {
			return false
		}
		param = strings.Trim(param, " \t")
		if weighted && (len(param) < 3 || len(param) > 7 || !strings.HasPrefix(param, "q=") || param[2] != '0' && param != "q=1") {
			return false
		}
		if len(param) > 3 && (param[3] != '.' || strings.Trim(param[4:], "0123456789") != "") {
			return false
		}
	}
	return true
}
