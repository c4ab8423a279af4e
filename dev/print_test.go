package dev

import (
	"strings"
	"testing"
	"unicode"
)

func TestRecord(t *testing.T) {
	tests := []struct {
		name, line string
		verbose    bool
		want       string
	}{
		{"a request", `{"level":"INFO","msg":"request","app":"shop","method":"GET","path":"/a","status":200,"duration":0.003201516,"function":"api","client":"::1"}`, false, "n1  GET /a 200 3.2ms api\n"},
		{"a request with an error", `{"level":"ERROR","msg":"request","method":"GET","path":"/","status":502,"duration":1.5,"upstream":"http://a:1","error":"refused"}`, false, "n1  GET / 502 1.5s http://a:1 refused\n"},
		{"a request of dev itself", `{"level":"INFO","msg":"request","listener":"admin","method":"GET","path":"/readyz","status":503}`, false, ""},
		{"a line of a guest", `{"level":"INFO","msg":"hello\u001b[2J","app":"shop","function":"api","stream":"stdout"}`, false, "n1  api: hello [2J\n"},
		{"a guest that says request", `{"level":"INFO","msg":"request","function":"api","stream":"stderr"}`, false, "n1  api: request\n"},
		{"the node's own", `{"level":"INFO","msg":"release live","app":"shop"}`, false, ""},
		{"the node's own, all of it", `{"level":"INFO","msg":"release live","app":"shop","release":3}`, true, "n1  release live app=shop release=3\n"},
		{"a warning", `{"level":"WARN","msg":"no routes yet","waited":"10s"}`, false, "n1  no routes yet waited=10s\n"},
		{"each try of the register's server", `{"level":"WARN","msg":"embedded NATS server","detail":"Error trying to connect to route (attempt 7)"}`, false, ""},
		{"each try, all of it", `{"level":"WARN","msg":"embedded NATS server","detail":"x"}`, true, "n1  embedded NATS server detail=x\n"},
		{"an error of the register's server", `{"level":"ERROR","msg":"embedded NATS server","detail":"x"}`, false, "n1  embedded NATS server detail=x\n"},
		{"no record", `panic: oh`, false, "n1  panic: oh\n"},
		{"another JSON", `[1]`, false, "n1  [1]\n"},
		{"an object that is no record", `{"a":1}`, false, "n1  {\"a\":1}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			isRecord := newPrinter(Config{Out: &out, Verbose: tt.verbose}).record("n1", []byte(tt.line))
			if out.String() != tt.want || isRecord != strings.Contains(tt.line, `"msg"`) {
				t.Errorf("record prints %q, %t, want %q", out.String(), isRecord, tt.want)
			}
		})
	}
}

// TestHeldWarnings: what nodes warn of while they start is told if the start fails, and
// at once if all is asked for.
func TestHeldWarnings(t *testing.T) {
	const warning, request = `{"level":"WARN","msg":"alone"}`, `{"msg":"request","method":"GET","path":"/","status":200}`
	for _, tt := range []struct {
		verbose, show bool
		during, after string
	}{
		{false, false, "n1  GET / 200 \n", ""},
		{false, true, "n1  GET / 200 \n", "n1  alone\n"},
		{true, true, "n1  alone\nn1  GET / 200 \n", ""},
	} {
		var out strings.Builder
		p := newPrinter(Config{Out: &out, Verbose: tt.verbose})
		p.hold()
		p.record("n1", []byte(warning))
		p.record("n1", []byte(request))
		during := out.String()
		p.release(tt.show)
		after := out.String()[len(during):]
		if during != tt.during || after != tt.after {
			t.Errorf("verbose %t, show %t: prints %q, then %q, want %q, then %q", tt.verbose, tt.show, during, after, tt.during, tt.after)
		}
		p.record("n1", []byte(warning))
		if !strings.HasSuffix(out.String(), "n1  alone\n") {
			t.Errorf("after the start a warning is not told: %q", out.String())
		}
	}
}

func TestColours(t *testing.T) {
	var out strings.Builder
	p := newPrinter(Config{Out: &out, Colour: true})
	p.record("n1", []byte(`{"msg":"request","method":"GET","path":"/","status":500}`))
	p.good("fine")
	if got := out.String(); !strings.Contains(got, "\x1b[31mGET / 500\x1b[0m") || !strings.Contains(got, "\x1b[32mfine\x1b[0m") {
		t.Errorf("prints %q, want red and green", got)
	}
}

// FuzzRecord: whatever a node logs, a terminal gets at most one line without control
// characters.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", `{"msg":null}`, `{"msg":{"a":["\n"]}}`, `{"msg":"request","status":"","method":1}`, `{"msg":"request","status":200,"duration":1e999}`,
		`{"msg":"a\nb","stream":1}`, `{"level":"WARN","msg":"x","\u001b":"\r"}`, "\x1b[2J", "\xff",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, line []byte, verbose bool) {
		var out strings.Builder
		newPrinter(Config{Out: &out, Verbose: verbose}).record("n1", line)
		text := strings.TrimSuffix(out.String(), "\n")
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q is printed as %q", line, text)
		}
	})
}

func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", 2*maxLine)
	var lines []string
	last := readLines(strings.NewReader("{a}\n"+long+"\n{b}\nerror: c\n{d}"), func(line []byte) bool {
		lines = append(lines, string(line[:min(len(line), 10)]))
		return line[0] == '{'
	})
	if got := strings.Join(lines, " "); got != "{a} xxxxxxxxxx {b} error: c {d}" || last != "error: c" {
		t.Errorf("readLines reads %q and returns %q", got, last)
	}
}
