package router

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanPath(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/", "/"},
		{"/a/b.css", "/a/b.css"},
		{"/a/", "/a/"},
		{"//a///b//", "//a///b//"},
		{"/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"},
		{"/.well-known/x", "/.well-known/x"},
		{"/..a/.../a..", "/..a/.../a.."},

		{"/%61%2D%2e%5f%7E", "/a-._~"},
		{"/%21%24%26%27%28%29%2a%2b%2c%3b%3d%3a%40", "/!$&'()*+,;=:@"},
		{"/a%2fb", "/a%2Fb"},
		{"/a%2Fb", "/a%2Fb"},
		{"/%2f", "/%2F"},
		{"/100%25", "/100%25"},
		{"/%252e%252e", "/%252e%252e"},
		{"/a%20b%3f%23", "/a%20b%3F%23"},
		{"/a b", "/a%20b"},
		{"/a?b#c[]", "/a%3Fb%23c%5B%5D"},
		{"/{id}|^`\"<>", "/%7Bid%7D%7C%5E%60%22%3C%3E"},
		{"/caf%c3%a9", "/caf%C3%A9"},
		{"/café", "/caf%C3%A9"},
		{"/caf\xc3%a9", "/caf%C3%A9"},
		{"/%F0%9F%8C%8A", "/%F0%9F%8C%8A"},

		{"/a/./b", "/a/b"},
		{"/a/.", "/a/"},
		{"/.", "/"},
		{"/./", "/"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a/"},
		{"/a/..", "/"},
		{"/a/b/../../c", "/c"},
		{"/a//../b", "/a/b"},
		{"//..", "/"},
		{"/a/%2e/b", "/a/b"},
		{"/%2E", "/"},
		{"/a%2F.%2Fb", "/a%2F.%2Fb"},
		{"/a..%2F..b", "/a..%2F..b"},
		{"/..%25", "/..%25"},
	} {
		got, err := CleanPath(tt.path)
		if got != tt.want || err != nil {
			t.Errorf("CleanPath(%q) = %q, %v, want %q", tt.path, got, err, tt.want)
		}
	}
}

func TestCleanPathRefuses(t *testing.T) {
	for _, tt := range []struct {
		path string
		want error
	}{
		{"", errPathStart},
		{"*", errPathStart},
		{"a", errPathStart},
		{"%2Fa", errPathStart},
		{"http://a/", errPathStart},
		{"/%", errPathEscape},
		{"/%2", errPathEscape},
		{"/%zz", errPathEscape},
		{"/%2g", errPathEscape},
		{"/\x00", errPathControl},
		{"/%00", errPathControl},
		{"/%0a", errPathControl},
		{"/\x7f", errPathControl},
		{"/%7F", errPathControl},
		{"/a\tb", errPathControl},
		{`/a\b`, errPathSlash},
		{"/a%5Cb", errPathSlash},
		{"/%5c..%5c", errPathSlash},
		{"/\xff", errPathUTF8},
		{"/%ff", errPathUTF8},
		{"/%c3", errPathUTF8},
		{"/%c3/%a9", errPathUTF8},
		{"/%c3a", errPathUTF8},
		{"/%a9", errPathUTF8},
		{"/%c0%af", errPathUTF8},       // an overlong slash
		{"/%ed%a0%80", errPathUTF8},    // a surrogate
		{"/%f4%90%80%80", errPathUTF8}, // beyond Unicode
		{"/a/%2e%2e/b", errPathDots},
		{"/a/.%2E/b", errPathDots},
		{"/a/%2e.", errPathDots},
		{"/a/..%2fb", errPathDots},
		{"/a%2F..", errPathDots},
		{"/a%2f../b", errPathDots},
		{"/a%2F%2e%2e%2Fb", errPathDots},
		{"/..", errPathRoot},
		{"/../a", errPathRoot},
		{"/a/../../b", errPathRoot},
		{"/./..", errPathRoot},
	} {
		got, err := CleanPath(tt.path)
		if !errors.Is(err, tt.want) || !errors.Is(err, ErrPath) {
			t.Errorf("CleanPath(%q) = %q, %v, want %v", tt.path, got, err, tt.want)
		}
	}
}

func TestCleanPathDoesNotAllocate(t *testing.T) {
	for _, path := range []string{
		"/", "/assets/app.3f9c.js", "/.well-known/acme-challenge/x", "/caf%C3%A9/a%2Fb%20c", "//a", // canonical
		"/%00", "/a/%2e%2e/b", "/..", "/%zz", // refused
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = CleanPath(path) }); n != 0 {
			t.Errorf("CleanPath(%q) allocates %v times", path, n)
		}
	}
}

// slowCleanPath does what CleanPath does, one rule after the other.
func slowCleanPath(path string) (string, error) {
	decoded, err := url.PathUnescape(path)
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", errPathStart
	case err != nil:
		return "", errPathEscape
	case !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "", errPathControl
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, raw := range segments {
		segment, _ := url.PathUnescape(raw)
		for piece := range strings.SplitSeq(segment, "/") {
			if piece == ".." && raw != ".." {
				return "", errPathDots
			}
		}
		switch segment {
		case "..":
			if len(kept) == 0 {
				return "", errPathRoot
			}
			kept = kept[:len(kept)-1]
		case ".":
		default:
			kept = append(kept, slowEscape(segment))
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), nil
}

func slowEscape(segment string) string {
	var b strings.Builder
	for _, c := range []byte(segment) {
		if strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{
		"/a/../b", "/a/%2e%2e/b", "/a%2fb", "/caf%c3%a9", "//..//.", "/%252e", "/a/..%2F", "/\xc3\xa9", "/%c3/%a9", "/.%2e", "/..%2f..", "/a%2F..%2F", "/%2F..",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, err := CleanPath(path)
		want, wantErr := slowCleanPath(path)
		if got != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("CleanPath(%q) = %q, %v, want %q, %v", path, got, err, want, wantErr)
		}
		if err != nil {
			return
		}
		if again, err := CleanPath(got); again != got || err != nil {
			t.Errorf("CleanPath(%q) = %q, but CleanPath of that = %q, %v", path, got, again, err)
		}
		// net/http keeps the escaped form only if it goes with the decoded one.
		u := url.URL{RawPath: got}
		if u.Path, err = url.PathUnescape(got); err != nil || u.EscapedPath() != got {
			t.Errorf("url.URL turns %q into %q, %v", got, u.EscapedPath(), err)
		}
	})
}
