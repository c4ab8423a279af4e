package main

import (
	"strings"
	"testing"
)

func TestTableIsAligned(t *testing.T) {
	var out strings.Builder
	c := &console{out: &out}
	if err := c.table("none", []string{"NAME", "HOSTS"}, [][]string{{"shop", "shop.example"}, {"a-long-name", "*"}, {"bare", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME         HOSTS\nshop         shop.example\na-long-name  *\nbare\n"
	if out.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", out.String(), want)
	}
	out.Reset()
	if err := c.table("none", []string{"NAME"}, nil); err != nil || out.String() != "none\n" {
		t.Errorf("table without rows = %q, %v, want none", out.String(), err)
	}
}

// TestPlain: what a guest or a request wrote cannot drive a person's terminal.
func TestPlain(t *testing.T) {
	tests := []struct{ text, want string }{
		{"shop", "shop"},
		{"zwei Wörter", "zwei Wörter"},
		{"\x1b[2Jgone", " [2Jgone"},
		{"a\r\nb", "a  b"},
		{"\u009b31m", " 31m"},
		{"\xff", " "},
	}
	for _, tt := range tests {
		if got := plain(tt.text); got != tt.want {
			t.Errorf("plain(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestProgressElsewhere(t *testing.T) {
	var out strings.Builder
	p := &progress{w: &out}
	p.show("upload", 0, 4<<20, "", true)
	p.show("upload", 1<<20, 4<<20, "", true)
	p.show("compile", 0, 2, "api", false)
	p.show("compile", 1, 2, "web", false)
	p.show("activate", 0, 1, "", false)
	p.end()
	if want := "upload 4.0 MiB\ncompile 2\nactivate\n"; out.String() != want {
		t.Errorf("progress = %q, want a line for each step: %q", out.String(), want)
	}
	out.Reset()
	p = &progress{w: &out, silent: true}
	p.show("upload", 0, 1, "", true)
	if out.String() != "" {
		t.Errorf("a silent progress says %q", out.String())
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out strings.Builder
	p := &progress{w: &out, terminal: true}
	p.show("upload", 0, 10, "a.css", true)
	p.show("upload", 10, 10, "b\x1b[2J.css", true)
	p.show("compile", 1, 0, "api", false)
	p.end()
	if got := out.String(); !strings.Contains(got, "upload a.css") || strings.Contains(got, "\x1b[2J.css") {
		t.Errorf("progress = %q, want the bar of upload, and no escape of a file's name", got)
	}
}

func TestColour(t *testing.T) {
	var out strings.Builder
	c := &console{out: &out, env: func(string) (string, bool) { return "", false }}
	if got := c.paint(red, "text"); got != "text" {
		t.Errorf("paint for a file = %q, want no colour", got)
	}
}

func TestQuoted(t *testing.T) {
	tests := []struct{ v, want string }{{"200", "200"}, {"", `""`}, {"a b", `"a b"`}, {`a"b`, `"a\"b"`}, {"a\nb", `"a\nb"`}, {"k=v", `"k=v"`}}
	for _, tt := range tests {
		if got := quoted(tt.v); got != tt.want {
			t.Errorf("quoted(%q) = %s, want %s", tt.v, got, tt.want)
		}
	}
}

func TestShort(t *testing.T) {
	tests := []struct{ digest, want string }{
		{"sha256:0123456789abcdef0123", "sha256:0123456789ab"}, {"sha256:01", "sha256:01"}, {"", ""},
	}
	for _, tt := range tests {
		if got := short(tt.digest); got != tt.want {
			t.Errorf("short(%q) = %q, want %q", tt.digest, got, tt.want)
		}
	}
}

func TestEnding(t *testing.T) {
	tests := []struct{ text, want string }{{"a.css", "a.css"}, {"abcdefgh", "abcdefgh"}, {"public/ä.css", "…c/ä.css"}}
	for _, tt := range tests {
		if got := ending(tt.text, 8); got != tt.want {
			t.Errorf("ending(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
