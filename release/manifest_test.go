package release

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestEncodeIsTheSameForEqualManifests(t *testing.T) {
	m := shop()
	m.Functions[0].Env = map[string]string{}
	for _, k := range []string{"A", "B", "C", "D", "E", "F", "G"} {
		m.Functions[0].Env[k] = "1"
	}
	first, d, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		decoded, err := Decode(first)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(decoded, m) {
			t.Fatalf("Decode(Encode(m)) = %v, want %v", decoded, m)
		}
		again, e, err := Encode(decoded)
		if err != nil || e != d || !slices.Equal(first, again) || e != modules.Sum(again) {
			t.Fatalf("Encode = %s, %v, want %s each time", e, err, d)
		}
	}
	m.Routes[0].Source = "orla.toml:8"
	if _, e, _ := Encode(m); e == d {
		t.Error("a changed manifest has the same digest")
	}
}

func TestManifestsHaveALimit(t *testing.T) {
	m := &orlav1.Manifest{Name: string(make([]byte, MaxSize))}
	if _, _, err := Encode(m); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Encode = %v, want ErrTooLarge", err)
	}
	if _, err := Decode(make([]byte, MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Decode = %v, want ErrTooLarge", err)
	}
	if _, err := Decode([]byte("no protobuf")); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("Decode = %v, want another error", err)
	}
}

func TestSummary(t *testing.T) {
	want := &orlav1.Summary{Files: 3, Bytes: 36, Functions: 3, Routes: 6}
	if got := Summary(shop()); !proto.Equal(got, want) {
		t.Errorf("Summary = %v, want %v", got, want)
	}
	if got := Summary(nil); !proto.Equal(got, &orlav1.Summary{}) {
		t.Errorf("Summary(nil) = %v", got)
	}
}

func TestDigests(t *testing.T) {
	m := shop()
	m.Site.Files[0].Variants = []*orlav1.Variant{{Coding: "br", Digest: digest("v")}}
	m.Site.Files[1].Digest = m.Site.Files[0].Digest
	m.Site.Files[2].Digest = "none"
	m.Functions[0].Files[0].Variants = []*orlav1.Variant{{Coding: "br", Digest: digest("w")}}
	var want []modules.Digest
	for _, s := range []string{"/404.html", "v", "api", "x", "w", "auth", "log"} {
		want = append(want, modules.Sum([]byte(s)))
	}
	if got := slices.Collect(Digests(m)); !slices.Equal(got, want) {
		t.Errorf("Digests = %s, want %s", got, want)
	}
	for n := range want {
		var got []modules.Digest
		for d := range Digests(m) {
			if got = append(got, d); len(got) > n {
				break
			}
		}
		if !slices.Equal(got, want[:n+1]) {
			t.Errorf("Digests until the %d. = %s", n+1, got)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		word  string
		known []string
		want  string
	}{
		{"apl", []string{"site", "api"}, "api"},
		{"timout", []string{"timeout", "memory"}, "timeout"},
		{"memroy", []string{"timeout", "memory"}, "memory"},
		{"mehtods", []string{"path", "methods", "method"}, "methods"},
		{"aab", []string{"aac", "aad"}, "aac"},
		{"x", []string{"y"}, ""},
		{"api", nil, ""},
		{"", []string{"a"}, ""},
		{"zzzzzz", []string{"timeout"}, ""},
		{"api", []string{"api"}, "api"},
		{string(make([]byte, 1<<20)), []string{"a"}, ""},
		{"a", []string{string(make([]byte, 1<<20)), "ab"}, "ab"},
	} {
		if got := Nearest(tt.word, tt.known); got != tt.want {
			t.Errorf("Nearest(%.20q, %.20q) = %q, want %q", tt.word, tt.known, got, tt.want)
		}
	}
}

func TestEditsAreAsTheDefinition(t *testing.T) {
	var slow func(a, b string) int
	slow = func(a, b string) int {
		switch {
		case a == "" || b == "":
			return len(a) + len(b)
		case a[0] == b[0]:
			return slow(a[1:], b[1:])
		}
		return 1 + min(slow(a[1:], b), slow(a, b[1:]), slow(a[1:], b[1:]))
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 6, -1)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got, want := edits(a, b), slow(a, b); got != want {
			t.Fatalf("edits(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}
