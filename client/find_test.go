package client_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "orla_s3cr3t-of-the-test"

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is a user's files and environment.
type machine struct {
	dir string
	env map[string]string
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	return &machine{dir: dir, env: map[string]string{"ORLA_DATA": filepath.Join(dir, "data"), "XDG_CONFIG_HOME": filepath.Join(dir, "config")}}
}

func (m *machine) getenv(name string) string { return m.env[name] }

func (m *machine) node(t *testing.T, url, token string) {
	write(t, filepath.Join(m.dir, "data", "admin.addr"), url+"\n", 0o644)
	write(t, filepath.Join(m.dir, "data", "admin.token"), token+"\n", 0o600)
}

func (m *machine) contexts(t *testing.T, text string) {
	write(t, filepath.Join(m.dir, "config", "orla", "contexts.toml"), text, 0o600)
}

const twoContexts = `
current = "prod"
[contexts.prod]
admin = "https://prod.example:7070"
token = "from-context"
[contexts.test]
admin = "test.example:7070"
token_file = "test.token"
`

func TestFind(t *testing.T) {
	for _, test := range []struct {
		name       string
		options    client.Options
		env        string // NAME=value NAME=value
		local      bool
		contexts   string
		admin, tok string
	}{
		{name: "this machine's node", local: true, admin: "http://127.0.0.1:7070", tok: "local"},
		{name: "contexts before this machine's node", local: true, contexts: twoContexts, admin: "https://prod.example:7070", tok: "from-context"},
		{name: "environment before contexts", env: "ORLA_ADMIN=http://env.example ORLA_TOKEN=env", local: true, contexts: twoContexts, admin: "http://env.example", tok: "env"},
		{name: "option before environment", options: client.Options{Admin: "opt.example:1", Token: "opt"}, env: "ORLA_ADMIN=http://env.example ORLA_TOKEN=env", contexts: twoContexts, admin: "http://opt.example:1", tok: "opt"},
		{name: "a data directory that is named means that node", options: client.Options{DataDir: "data"}, env: "ORLA_ADMIN=http://env.example", local: true, contexts: twoContexts, admin: "http://127.0.0.1:7070", tok: "local"},
		{name: "a named context", options: client.Options{Context: "test"}, env: "ORLA_ADMIN=http://env.example", contexts: twoContexts, admin: "http://test.example:7070", tok: "from-file"},
		{name: "the environment's token for a context", env: "ORLA_TOKEN=env", contexts: twoContexts, admin: "https://prod.example:7070", tok: "env"},
		{name: "a token file", options: client.Options{TokenFile: "token"}, env: "ORLA_TOKEN=env", local: true, admin: "http://127.0.0.1:7070", tok: "from-option-file"},
		{name: "this machine's node by its address", options: client.Options{Admin: "127.0.0.1:7070"}, local: true, admin: "http://127.0.0.1:7070", tok: "local"},
		{name: "a port alone", options: client.Options{Admin: ":7070"}, local: true, admin: "http://127.0.0.1:7070", tok: "local"},
		{name: "a path is kept", options: client.Options{Admin: "https://h.example/orla/", Token: "x"}, admin: "https://h.example/orla", tok: "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			for pair := range strings.FieldsSeq(test.env) {
				name, value, _ := strings.Cut(pair, "=")
				m.env[name] = value
			}
			if test.local {
				m.node(t, "http://127.0.0.1:7070", "local")
			}
			if test.contexts != "" {
				m.contexts(t, test.contexts)
				write(t, filepath.Join(m.dir, "config", "orla", "test.token"), "from-file\n", 0o600)
			}
			o := test.options
			o.Getenv = m.getenv
			if o.DataDir != "" {
				o.DataDir = filepath.Join(m.dir, o.DataDir)
			}
			if o.TokenFile != "" {
				o.TokenFile = write(t, filepath.Join(m.dir, o.TokenFile), "from-option-file\n", 0o600)
			}
			c, err := client.Find(o)
			if err != nil {
				t.Fatal(err)
			}
			if c.Admin() != test.admin || client.TokenOf(c) != test.tok {
				t.Errorf("Find = %s with token %q, want %s with %q", c.Admin(), client.TokenOf(c), test.admin, test.tok)
			}
		})
	}
}

func TestFindErrors(t *testing.T) {
	for _, test := range []struct {
		name     string
		options  client.Options
		env      map[string]string
		local    [2]string // address and token
		contexts string
		is       error
		want     string
	}{
		{name: "no node", is: client.ErrNoNode, want: "start one with `orla serve`, or name one with --admin and --token-file"},
		{name: "this machine's token goes nowhere else", options: client.Options{Admin: "http://other.example"}, local: [2]string{"http://127.0.0.1:7070", secret}, is: client.ErrNoToken, want: "for http://other.example: set ORLA_TOKEN"},
		{name: "empty token", local: [2]string{"http://127.0.0.1:7070", ""}, is: client.ErrNoToken, want: "admin.token is empty"},
		{name: "context without a token", contexts: "current = 'a'\n[contexts.a]\nadmin = 'http://a.example'", is: client.ErrNoToken, want: "for http://a.example"},
		{name: "context without its token file", contexts: "current = 'a'\n[contexts.a]\nadmin = 'http://a.example'\ntoken_file = 'gone'", is: client.ErrNoToken, want: "contexts.toml:4: open "},
		{name: "unknown context", options: client.Options{Context: "c"}, contexts: twoContexts, is: client.ErrNoNode, want: `has no context "c"; it has prod, test`},
		{name: "no contexts at all", options: client.Options{Context: "c"}, is: client.ErrNoNode, want: `has no context "c"; it has none`},
		{name: "context without an address", contexts: "current = 'a'\n[contexts.a]\ntoken = '" + secret + "'", want: "contexts.toml:2: the address is not valid"},
		{name: "bad key in contexts", contexts: "current = 'a'\n[contexts.a]\nadmi = 'http://a.example'", want: `contexts.toml:3: unknown key "admi"`},
		{name: "token with a line break", options: client.Options{Admin: "http://a.example", Token: secret + "\nx"}, want: "the token from --token is not one"},
		{name: "address with a password", options: client.Options{Admin: "http://me:" + secret + "@a.example"}, want: "--admin: the address has a user name in it"},
		{name: "address that is none", env: map[string]string{"ORLA_ADMIN": "http://a:b:" + secret}, want: "ORLA_ADMIN: the address is not valid"},
		{name: "another scheme", options: client.Options{Admin: "ftp://a.example"}, want: "--admin: the address is not valid"},
		{name: "missing token file", options: client.Options{Admin: "http://a.example", TokenFile: "/nowhere/token"}, is: client.ErrNoToken, want: "open /nowhere/token: no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			if test.local[0] != "" {
				m.node(t, test.local[0], test.local[1])
			}
			if test.contexts != "" {
				m.contexts(t, test.contexts)
			}
			maps.Copy(m.env, test.env)
			test.options.Getenv = m.getenv
			_, err := client.Find(test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Fatalf("Find = %v, want %v with %q", err, test.is, test.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestDefaultDataDir(t *testing.T) {
	env := map[string]string{"ORLA_DATA": "/srv/orla", "XDG_DATA_HOME": "/home/me/data"}
	getenv := func(name string) string { return env[name] }
	if got := client.DefaultDataDir(getenv); got != "/srv/orla" {
		t.Errorf("with ORLA_DATA: %s", got)
	}
	delete(env, "ORLA_DATA")
	want := "/home/me/data/orla"
	if os.Geteuid() == 0 {
		want = "/var/lib/orla"
	}
	if got := client.DefaultDataDir(getenv); got != want {
		t.Errorf("without ORLA_DATA: %s, want %s", got, want)
	}
}
