package settings

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orla-edge/orla/app/document"
)

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	type vars = map[string]string
	tests := []struct {
		name  string
		flags vars
		env   vars
		file  string
		want  func(*Serve)
	}{
		{"default", nil, nil, "", func(*Serve) {}},
		{"file before default", nil, nil, `http = ":1"`, func(s *Serve) { s.HTTP = ":1" }},
		{"variable before file", nil, vars{"ORLA_HTTP": ":2"}, `http = ":1"`, func(s *Serve) { s.HTTP = ":2" }},
		{"flag before variable", vars{"http": ":3"}, vars{"ORLA_HTTP": ":2"}, `http = ":1"`, func(s *Serve) { s.HTTP = ":3" }},
		{"an empty variable is none", nil, vars{"ORLA_HTTP": ""}, "", func(*Serve) {}},
		{"PORT before file", nil, vars{"PORT": "9"}, `http = ":1"`, func(s *Serve) { s.HTTP = ":9" }},
		{"ORLA_HTTP before PORT", nil, vars{"ORLA_HTTP": ":2", "PORT": "9"}, "", func(s *Serve) { s.HTTP = ":2" }},
		{"--http before PORT", vars{"http": ":3"}, vars{"PORT": "9"}, "", func(s *Serve) { s.HTTP = ":3" }},
		{"PORT leaves HTTPS alone", nil, vars{"PORT": "9"}, `https = ":4"`, func(s *Serve) { s.HTTP, s.HTTPS = ":9", ":4" }},
		{"off", vars{"http": "off", "https": "off"}, nil, "", func(s *Serve) { s.HTTP, s.HTTPS = "off", "off" }},
		{"a URL in ORLA_ADMIN names another node", nil, vars{"ORLA_ADMIN": "https://edge.example:7070"}, "", func(*Serve) {}},
		{"an address in ORLA_ADMIN is one to listen on", nil, vars{"ORLA_ADMIN": "127.0.0.1:7"}, "", func(s *Serve) { s.Admin = "127.0.0.1:7" }},
		{"names with dashes", vars{"log-level": "debug"}, vars{"ORLA_LOG_FORMAT": "json"}, "", func(s *Serve) { s.LogLevel, s.LogFormat = slog.LevelDebug, "json" }},
		{"names with dashes in the file", nil, nil, "log_format = \"json\"\nlog_level = \"warn\"", func(s *Serve) { s.LogLevel, s.LogFormat = slog.LevelWarn, "json" }},
		{"ceilings of functions", vars{"function-memory": "2GiB"}, vars{"ORLA_FUNCTION_INSTANCES": "50"}, "function_memory = \"1GiB\"\nfunction_instances = 7", func(s *Serve) {
			s.FunctionMemory, s.FunctionInstances = 2<<30, 50
		}},
		{"ceilings of functions in the file", nil, nil, "function_memory = \"1GiB\"\nfunction_instances = 7", func(s *Serve) {
			s.FunctionMemory, s.FunctionInstances = 1<<30, 7
		}},
		{"a cluster in the file", nil, vars{"ORLA_JOIN": "c:3, d:4"}, "cluster = \"edge\"\ncluster_listen = \":6222\"\njoin = [\"a:1\", \"b:2\"]\ncluster_secret_file = \"/s\"\nnats_replicas = 3", func(s *Serve) {
			s.Cluster = Cluster{Name: "edge", Listen: ":6222", Join: []string{"c:3", "d:4"}, SecretFile: "/s", Peer: ":7071", NATSReplicas: 3}
		}},
		{"all in the file", nil, nil, "http = \":1\"\nhttps = \":2\"\nadmin = \":3\"\ndata = \"/d\"\nnode = \"n\"\ntls = \"off\"", func(s *Serve) {
			s.HTTP, s.HTTPS, s.Admin, s.Data, s.Node, s.TLS = ":1", ":2", ":3", "/d", "n", "off"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := Source{Flags: tt.flags, Env: environment(tt.env)}
			if tt.file != "" {
				src.File = write(t, tt.file)
			}
			want := Serve{HTTP: ":8080", HTTPS: ":8443", Admin: "127.0.0.1:7070", Data: DefaultData(), TLS: "internal", ReadyWhen: "serving", LogFormat: "text", FunctionInstances: 20_000, Cluster: Cluster{Peer: ":7071"}}
			tt.want(&want)
			got, err := Resolve(src)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("Resolve (-want +got):\n%s", d)
			}
		})
	}
}

func TestFileFromEnvironment(t *testing.T) {
	path := write(t, `node = "fra1"`)
	got, err := Resolve(Source{Env: environment(map[string]string{ConfigEnv: path})})
	if err != nil || got.Node != "fra1" {
		t.Errorf("Resolve = %+v, %v, want node fra1 from the file that %s names", got, err, ConfigEnv)
	}
}

// TestDataIsRelativeToItsFile: a file says the same wherever it is read from.
func TestDataIsRelativeToItsFile(t *testing.T) {
	path := write(t, `data = "state"`)
	got, err := Resolve(Source{File: path})
	if want := filepath.Join(filepath.Dir(path), "state"); err != nil || got.Data != want {
		t.Errorf("Data = %q, %v, want %q", got.Data, err, want)
	}
}

func TestRefusals(t *testing.T) {
	type vars = map[string]string
	tests := []struct {
		name  string
		flags vars
		env   vars
		want  string
	}{
		{"bare port", vars{"http": "8080"}, nil, `--http "8080": want HOST:PORT or :PORT, so :8080`},
		{"no port", vars{"https": "localhost"}, nil, `--https "localhost": want HOST:PORT or :PORT`},
		{"port too large", vars{"admin": ":70000"}, nil, `--admin ":70000": port "70000" is not a number from 0 to 65535`},
		{"admin off", vars{"admin": "off"}, nil, `--admin "off": want HOST:PORT or :PORT`},
		{"PORT", nil, vars{"PORT": "http"}, `PORT ":http": port "http" is not a number`},
		{"near a value", vars{"tls": "intern"}, nil, `--tls "intern": did you mean "internal"?`},
		{"far from a value", nil, vars{"ORLA_LOG_FORMAT": "protobuf"}, `ORLA_LOG_FORMAT "protobuf": want one of: text, json`},
		{"empty data", vars{"data": ""}, nil, `--data "": is empty`},
		{"node with a line break", vars{"node": "a\nb"}, nil, `--node "a\nb": has a space or control character`},
		{"no size", vars{"function-memory": "much"}, nil, `--function-memory "much": want a size such as 8GiB`},
		{"no room", nil, vars{"ORLA_FUNCTION_MEMORY": "1MiB"}, `ORLA_FUNCTION_MEMORY "1MiB": is less than 64MiB`},
		{"no instance", vars{"function-instances": "0"}, nil, `--function-instances "0": want a number from 1 to 10000000`},
		{"long node", vars{"node": strings.Repeat("n", 64)}, nil, "has more than 63 characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resolve(Source{Flags: tt.flags, Env: environment(tt.env)})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, new(*ValueError)) {
				t.Errorf("Resolve = %v, want a ValueError with %q", err, tt.want)
			}
		})
	}
}

func TestAllRefusalsAtOnce(t *testing.T) {
	_, err := Resolve(Source{Flags: map[string]string{"http": "1", "tls": "x"}})
	if err == nil || !strings.Contains(err.Error(), "--http") || !strings.Contains(err.Error(), "--tls") {
		t.Errorf("Resolve = %v, want both --http and --tls named", err)
	}
}

func TestFileProblems(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"near key", "http = \":1\"\nlog-format = \"json\"", `orla-node.toml:2: unknown key "log-format"; did you mean "log_format"?`},
		{"far key", "colour = 1", `orla-node.toml:1: unknown key "colour"; known are`},
		{"type", "http = 8080", `orla-node.toml:1: "http" must be a string`},
		{"value", "\ntls = \"on\"", `orla-node.toml:2: "tls" must be "internal", "acme" or "off", not "on"`},
		{"e-mail", `acme_email = "example.com"`, `orla-node.toml:1: acme_email = "example.com": want an e-mail address`},
		{"directory", `acme_directory = "http://ca.example"`, `want the URL of an ACME directory, https://HOST/PATH`},
		{"address", "# first\nhttps = \"nowhere\"", `orla-node.toml:2: https = "nowhere": want HOST:PORT`},
		{"size", `function_memory = "all"`, `orla-node.toml:1: function_memory = "all": want a size such as 8GiB`},
		{"count", "function_instances = -1", `orla-node.toml:1: function_instances = "-1": want a number`},
		{"syntax", "http = ", "orla-node.toml:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.text)
			err := CheckFile(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, new(document.Problems)) {
				t.Errorf("CheckFile = %v, want Problems with %q", err, tt.want)
			}
			if _, err := Resolve(Source{File: path}); err == nil {
				t.Error("Resolve takes the file")
			}
		})
	}
	if err := CheckFile(filepath.Join(t.TempDir(), FileName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("CheckFile of nothing = %v, want ErrNotExist", err)
	}
}

func TestNamesOfSettings(t *testing.T) {
	s := Setting{Flag: "log-format"}
	if s.Env() != "ORLA_LOG_FORMAT" || s.Key() != "log_format" {
		t.Errorf("Env, Key = %q, %q", s.Env(), s.Key())
	}
}

// TestTableAndFileAgree: each setting can be given in the file.
func TestTableAndFileAgree(t *testing.T) {
	values := new(file).values()
	for _, s := range Table() {
		if _, ok := values[s.Flag]; !ok {
			t.Errorf("%s is a setting, but not a key of the file", s.Flag)
		}
	}
	if len(values) != len(Table()) {
		t.Errorf("the file has %d keys, the table %d settings", len(values), len(Table()))
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "http = \":1\"", "tls = \"acme\"", "[http]", "data = [1, {a = 2}]", "node = \"\\u0000\"", "function_memory = \"9EiB\"", "function_instances = 1", "https = \"off\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := document.Parse(FileName, text)
		if err != nil {
			return
		}
		values, err := decode(doc, "/etc/orla")
		if err != nil {
			return
		}
		for _, s := range Table() {
			if v := values[s.Flag]; doc.Has(s.Key()) && s.Check(v) != nil {
				t.Errorf("%s = %q is taken from the file %q and refused as a flag", s.Key(), v, text)
			}
		}
	})
}
