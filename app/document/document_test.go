package document_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/orla-edge/orla/app/document"
)

type file struct {
	Name  string           `toml:"name" example:"\"shop\""`
	Mode  string           `toml:"mode" jsonschema:"enum=auto,enum=none" later:"turbo"`
	On    bool             `toml:"on"`
	Count uint32           `toml:"count" example:"3"`
	Exact int64            `toml:"exact"`
	Hosts []string         `toml:"hosts"`
	Table map[string]table `toml:"table"`
	List  []item           `toml:"list"`
	Inner *table           `toml:"inner"`

	_ struct{} `later:"kv,cache"`
}

type table struct {
	Memory  document.Size       `toml:"memory"`
	Timeout document.Duration   `toml:"timeout" example:"\"10s\""`
	Age     document.Age        `toml:"age"`
	Env     map[string]string   `toml:"env"`
	Set     document.Pairs      `toml:"set"`
	Add     document.MultiPairs `toml:"add"`
}

type item struct {
	Path  string `toml:"path"`
	Inner *table `toml:"inner"`
}

func TestDecode(t *testing.T) {
	const text = `
name = "shop" # comment
mode = "none"
on = true
count = 0x10
exact = -1_000
hosts = ["a", "b"]
[table.one]
memory = "64MiB"
timeout = "1m30s"
age = "180d"
env = { B = "2", A = "1" }
[[list]]
path = "/x"
inner.set = { Z = "1", A = "2" }
[[list]]
[list.inner]
add = { V = ["1", "2"], W = "3" }
`
	d, err := document.Parse("orla.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got file
	if problems := d.Decode(&got); problems != nil {
		t.Fatal(problems)
	}
	want := file{
		Name: "shop", Mode: "none", On: true, Count: 16, Exact: -1000, Hosts: []string{"a", "b"},
		Table: map[string]table{"one": {
			Memory: 64 << 20, Timeout: document.Duration(90 * time.Second), Age: document.Age(180 * 24 * time.Hour), Env: map[string]string{"A": "1", "B": "2"},
		}},
		List: []item{
			{Path: "/x", Inner: &table{Set: document.Pairs{{Name: "Z", Value: "1"}, {Name: "A", Value: "2"}}}},
			{Inner: &table{Add: document.MultiPairs{{Name: "V", Value: "1"}, {Name: "V", Value: "2"}, {Name: "W", Value: "3"}}}},
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b struct{}) bool { return true }), cmp.AllowUnexported(file{})); diff != "" {
		t.Error("decoded differs, - want + got:\n" + diff)
	}
	for field, want := range map[string]int{
		"name": 2, "hosts[1]": 7, "table.one": 8, "table.one.timeout": 10, "table.one.env.A": 12, "table.one.nothing": 8,
		"list[0]": 13, "list[0].inner.set.A": 15, "list[1]": 16, "list[1].inner.add.V[1]": 18, "list[7].path": 13, "nothing": 0,
	} {
		if line, _ := d.Position(field); line != want {
			t.Errorf("Position(%q) = line %d, want %d", field, line, want)
		}
	}
}

func TestDecodeProblems(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "namee = 1", `f:1: unknown key "namee"; did you mean "name"?`},
		{"unknown key in table", "[table.x]\nmemry = 1", `f:2: unknown key "memry" in [table.x]; did you mean "memory"?`},
		{"unknown key in list", "[[list]]\npaht = 1", `f:2: unknown key "paht" in [[list]]; did you mean "path"?`},
		{"unknown key inside list", "[[list]]\ninner = {\n  timeuot = 1 }", `f:3: unknown key "timeuot" in "inner" of [[list]]; did you mean "timeout"?`},
		{"nothing near", "[[list]]\nzzzzzzzz = 1", `f:2: unknown key "zzzzzzzz" in [[list]]; known are inner, path`},
		{"later key", "kv = []", `f:1: "kv" is not supported by this version of Orla; remove the line`},
		{"later table", "[cache]\nx = 1", `f:1: "cache" is not supported by this version of Orla; remove it`},
		{"later value", "mode = 'turbo'", `f:1: mode = "turbo" is not supported by this version of Orla; remove the line or write "auto" or "none"`},
		{"enumeration", "mode = 'x'", `f:1: "mode" must be "auto" or "none", not "x"`},
		{"number for string", "name = 8080", `f:1: "name" must be a string, not a whole number; write it in quotes: "8080"`},
		{"list for string", "name = []", `f:1: "name" must be a string, not a list; for example name = "shop"`},
		{"string for list", "hosts = 'a'", `f:1: "hosts" must be a list, not a string; write ["a"]`},
		{"element", "hosts = ['a',\n1]", `f:2: each of "hosts" must be a string, not a whole number; write it in quotes: "1"`},
		{"string for number", "count = '3'", `f:1: "count" must be a whole number, not a string; for example count = 3`},
		{"negative", "count = -3", `f:1: "count" is out of range: -3`},
		{"huge", "exact = 9223372036854775807\ncount = 4294967296", `f:2: "count" is out of range: 4294967296`},
		{"table", "inner = 1", `f:1: "inner" must be a table, not a whole number`},
		{"value in table", "table = { x = 1 }", `f:1: "x" in [table] must be a table, not a whole number`},
		{"size", "[inner]\nmemory = 'lots'", `f:2: "memory" in [inner] must be a size such as "64MiB", not "lots"`},
		{"size zero", "[inner]\nmemory = '0'", `f:2: "memory" in [inner] must be a size such as "64MiB", not "0"`},
		{"size number", "[inner]\nmemory = 64", `f:2: "memory" in [inner] must be a size such as "64MiB", not a whole number`},
		{"duration", "[inner]\ntimeout = '10'", `f:2: "timeout" in [inner] must be a duration such as "10s" or "1m30s", not "10"`},
		{"duration negative", "[inner]\ntimeout = '-1s'", `f:2: "timeout" in [inner] must be a duration such as "10s" or "1m30s", not "-1s"`},
		{"age", "[inner]\nage = '180'", `f:2: "age" in [inner] must be a number of days such as "180d", or hours such as "12h", not "180"`},
		{"age of half days", "[inner]\nage = '1.5d'", `f:2: "age" in [inner] must be a number of days such as "180d", or hours such as "12h", not "1.5d"`},
		{"age negative", "[inner]\nage = '-1h'", `f:2: "age" in [inner] must be a number of days such as "180d", or hours such as "12h", not "-1h"`},
		{"age too long", "[inner]\nage = '65536d'", `f:2: "age" in [inner] must be a number of days such as "180d", or hours such as "12h", not "65536d"`},
		{"age number", "[inner]\nage = 180", `f:2: "age" in [inner] must be a number of days such as "180d", or hours such as "12h", not a whole number`},
		{"environment", "[inner.env]\nPORT = 1", `f:2: "PORT" in [inner.env] must be a string, not a whole number; write it in quotes: "1"`},
		{"pairs", "[inner]\nset = { A = ['1'] }", `f:2: "set" in [inner] must be a table of strings such as { Name = "value" }; the value of "A" is a list`},
		{"date", "name = 1979-05-27", `f:1: "name" must be a string, not a date or time; for example name = "shop"`},
		{"all of them, by line", "on = 1\n[inner]\nx = 1\n[[list]]\npath = 2\n[[list]]\npath = true", strings.Join([]string{
			`f:1: "on" must be true or false, not a whole number`,
			`f:3: unknown key "x" in [inner]; known are add, age, env, memory, set, timeout`,
			`f:5: "path" in [[list]] must be a string, not a whole number; write it in quotes: "2"`,
			`f:7: "path" in [[list]] must be a string, not true or false; write it in quotes: "true"`,
		}, "\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := document.Parse("f", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Decode(new(file)).Error(); got != test.want {
				t.Errorf("Decode(%q) says\n%s\nwant\n%s", test.text, got, test.want)
			}
		})
	}
}

func TestParseProblems(t *testing.T) {
	deepLists := "a = " + strings.Repeat("[", 40) + strings.Repeat("]", 40)
	deepTables := "[a" + strings.Repeat(".a", 40) + "]"
	deepInline := strings.Repeat("a = {", 40) + strings.Repeat("}", 40)
	for _, test := range []struct{ name, text, want string }{
		{"syntax", "a = 1\nb = ", `f:2:4: expected value, not end of input`},
		{"unquoted", "a = 20s", `f:1:7: strings must be quoted`},
		{"unclosed", "a = [1,\n2", `f:2:1: array is incomplete`},
		{"twice", "a = 1\na = 2", `f:2:1: key a is already defined`},
		{"table twice", "[a]\n[b]\n[a]", `f:3:2: `},
		{"table over value", "a = 1\n[a.b]", `f:2:`},
		{"not UTF-8", "a = 1\nb = '\xff'", `f:2: the text is not UTF-8; save the file in that encoding`},
		{"lists too deep", deepLists, `f:1:1: tables and lists are nested more than 16 deep`},
		{"tables too deep", deepTables, `f:1:34: tables and lists are nested more than 16 deep`},
		{"inline too deep", deepInline, `f:1:76: tables and lists are nested more than 16 deep`},
		{"too large", strings.Repeat("#", document.MaxSize+1), `f: the file is larger than 1 MiB`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := document.Parse("f", []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Parse(%.40q) = %v, want %s", test.text, err, test.want)
			}
		})
	}
}

func TestParseTakesByteOrderMark(t *testing.T) {
	d, err := document.Parse("f", []byte("\uFEFFname = 1\n"))
	if err != nil || !d.Has("name") {
		t.Errorf("Parse of a file with a byte order mark = %v", err)
	}
}

func TestDecodeKeepsDefaults(t *testing.T) {
	d, err := document.Parse("f", []byte("on = true"))
	if err != nil {
		t.Fatal(err)
	}
	got := file{Name: "default", Count: 7}
	if p := d.Decode(&got); p != nil || got.Name != "default" || got.Count != 7 || !got.On {
		t.Errorf("Decode over defaults = %+v, %v", got, p)
	}
}

// FuzzParse holds that no text panics and that every problem has a message and,
// but for the file as a whole, a line that the text has.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"name = 'x'\n[table.a]\nmemory = '1MiB'\n[[list]]\npath = '/'\n", "a.b.c = { d = [1, {e = 2}] }", "[[a]]\n[a.b]\n[[a.b.c]]",
		"a = 1\n[a]", "[a]\na = 1\n[[a]]", "a = '''\nx'''", "\"\\u0041\" = 1979-05-27T07:32:00Z", "a = [\n# x\n1,]", "kv = 1\nmode = 'turbo'",
		"[[list.x]]\n[list]", "a = {b = 1}\n[a.c]", "[[x.y]]\n[x]\ny = 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		check := func(problems document.Problems) {
			for _, p := range problems {
				if p.Message == "" || p.Line < 1 || p.Line > lines {
					t.Errorf("%q: problem %+v is in none of %d lines", text, p, lines)
				}
			}
		}
		d, err := document.Parse("f", []byte(text))
		if err != nil {
			problems, ok := errors.AsType[document.Problems](err)
			if !ok {
				t.Fatalf("%q: %v are no problems", text, err)
			}
			check(problems)
			return
		}
		check(d.Decode(new(file)))
	})
}
