// Package settings decides what a node is started with: a flag goes before the
// environment, the environment before the file, the file before the default. It
// knows no commands, and starts nothing.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/orla-edge/orla/app/document"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/release"
)

// Setting is one thing that a person decides about a node.
type Setting struct {
	// Flag is the name on the command line, without dashes.
	Flag string
	// Default is what holds if nobody says anything.
	Default string
	// Usage is the line of the help; the word in back quotes stands for the value.
	Usage string
	// Values are the only ones, if there are any.
	Values []string

	check func(value string) error
}

// Env returns the name of the environment variable: ORLA_LOG_FORMAT.
func (s Setting) Env() string { return "ORLA_" + strings.ToUpper(s.Key()) }

// Key returns the name in the file: log_format.
func (s Setting) Key() string { return strings.ReplaceAll(s.Flag, "-", "_") }

const (
	// FileName is the usual name of a node's file.
	FileName = "orla-node.toml"
	// ConfigEnv is the variable that names the file when no flag does.
	ConfigEnv = "ORLA_CONFIG"
)

// Table returns all settings in the order in which help shows them.
func Table() []Setting {
	return slices.Concat(nodeTable(), acmeTable(), clusterTable())
}

func nodeTable() []Setting {
	return []Setting{
		{Flag: "http", Default: ":8080", Usage: "`address` of the HTTP listener, or off; the variable PORT sets its port", check: publicAddress},
		{Flag: "https", Default: ":8443", Usage: "`address` of the HTTPS listener (HTTP/1.1 and 2), or off", check: publicAddress},
		{Flag: "admin", Default: "127.0.0.1:7070", Usage: "`address` of the API, health checks and metrics", check: address},
		{Flag: "data", Default: DefaultData(), Usage: "`directory` that the node keeps everything in", check: filled},
		{Flag: "node", Usage: "`name` of the node in logs and metrics (default: the host's name)", check: nodeName},
		{Flag: "tls", Default: "internal", Usage: "`mode`: internal (certificates of the node's own CA), acme (ordered from a public one) or off", Values: []string{"internal", "acme", "off"}},
		{Flag: "ready-when", Default: "serving", Usage: "`policy` of /readyz: serving (also what the cluster has left behind) or current", Values: []string{"serving", "current"}},
		{Flag: "log-format", Default: "text", Usage: "`format` of the log: text or json", Values: []string{"text", "json"}},
		{Flag: "log-level", Default: "info", Usage: "least `level` that is logged: debug, info, warn or error", Values: []string{"debug", "info", "warn", "error"}},
		{Flag: "function-memory", Usage: "`size` that the memories of all functions have together (default: half of the machine's)", check: size},
		{Flag: "function-instances", Default: "20000", Usage: "`number` of instances that all functions have together", check: count},
	}
}

// Serve is what a node is started with.
type Serve struct {
	HTTP, HTTPS, Admin string
	Data, Node, TLS    string
	ReadyWhen          string
	LogFormat          string
	LogLevel           slog.Level
	// FunctionMemory is a number of bytes; zero means half of the machine's.
	FunctionMemory    int64
	FunctionInstances int

	ACME ACME
	Cluster
}

// file is orla-node.toml.
type file struct {
	HTTP      string `toml:"http" example:"\":8080\""`
	HTTPS     string `toml:"https" example:"\":8443\""`
	Admin     string `toml:"admin" example:"\"127.0.0.1:7070\""`
	Data      string `toml:"data" example:"\"/var/lib/orla\""`
	Node      string `toml:"node" example:"\"fra1\""`
	TLS       string `toml:"tls" jsonschema:"enum=internal,enum=acme,enum=off"`
	ReadyWhen string `toml:"ready_when" jsonschema:"enum=serving,enum=current"`
	LogFormat string `toml:"log_format" jsonschema:"enum=text,enum=json"`
	LogLevel  string `toml:"log_level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error"`

	FunctionMemory    string `toml:"function_memory" example:"\"8GiB\""`
	FunctionInstances *int   `toml:"function_instances" example:"20000"`

	ACMEEmail              string `toml:"acme_email" example:"\"admin@example.com\""`
	ACMEDirectory          string `toml:"acme_directory" example:"\"https://acme-v02.api.letsencrypt.org/directory\""`
	ACMECARoot             string `toml:"acme_ca_root" example:"\"/etc/orla/acme-root.pem\""`
	ACMEEABKeyID           string `toml:"acme_eab_key_id" example:"\"kid-1\""`
	ACMEEABKeyFile         string `toml:"acme_eab_key_file" example:"\"/etc/orla/eab.key\""`
	ACMEFallback           string `toml:"acme_fallback" example:"\"https://acme.zerossl.com/v2/DV90\""`
	ACMEFallbackEABKeyID   string `toml:"acme_fallback_eab_key_id" example:"\"kid-2\""`
	ACMEFallbackEABKeyFile string `toml:"acme_fallback_eab_key_file" example:"\"/etc/orla/eab-2.key\""`

	ACMEDNS          string   `toml:"acme_dns" jsonschema:"enum=rfc2136,enum=exec"`
	ACMEDNSFile      string   `toml:"acme_dns_file" example:"\"/etc/orla/dns.json\""`
	ACMEDNSResolvers []string `toml:"acme_dns_resolvers" example:"[\"9.9.9.9:53\"]"`

	Cluster           string   `toml:"cluster" example:"\"edge\""`
	ClusterListen     string   `toml:"cluster_listen" example:"\":6222\""`
	ClusterAdvertise  string   `toml:"cluster_advertise" example:"\"fra1.example.com:6222\""`
	Join              []string `toml:"join" example:"[\"10.0.0.1:6222\"]"`
	ClusterSecretFile string   `toml:"cluster_secret_file" example:"\"/etc/orla/cluster.secret\""`
	Peer              string   `toml:"peer" example:"\":7071\""`
	PeerAdvertise     string   `toml:"peer_advertise" example:"\"fra1.example.com:7071\""`
	BlobStore         string   `toml:"blob_store" example:"\"s3://blobs/orla?endpoint=s3.example.com\""`
	NATS              string   `toml:"nats" example:"\"tls://nats.example.com:4222\""`
	NATSCreds         string   `toml:"nats_creds" example:"\"/etc/orla/nats.creds\""`
	NATSNkey          string   `toml:"nats_nkey" example:"\"/etc/orla/nats.nk\""`
	NATSCA            string   `toml:"nats_ca" example:"\"/etc/orla/nats-ca.pem\""`
	NATSCert          string   `toml:"nats_cert" example:"\"/etc/orla/nats.pem\""`
	NATSKey           string   `toml:"nats_key" example:"\"/etc/orla/nats.key\""`
	NATSDomain        string   `toml:"nats_domain" example:"\"hub\""`
	NATSReplicas      *int     `toml:"nats_replicas" example:"3"`
}

func (f *file) values() map[string]string {
	instances := ""
	if f.FunctionInstances != nil {
		instances = strconv.Itoa(*f.FunctionInstances)
	}
	values := map[string]string{
		"http": f.HTTP, "https": f.HTTPS, "admin": f.Admin, "data": f.Data, "node": f.Node,
		"tls": f.TLS, "ready-when": f.ReadyWhen, "log-format": f.LogFormat, "log-level": f.LogLevel,
		"function-memory": f.FunctionMemory, "function-instances": instances,
	}
	maps.Copy(values, f.acmeValues())
	maps.Copy(values, f.clusterValues())
	return values
}

// ValueError is a value of a flag or variable that cannot be meant.
type ValueError struct {
	Source string // "--http" or "ORLA_HTTP"
	Value  string
	Err    error
}

func (e *ValueError) Error() string { return fmt.Sprintf("%s %q: %v", e.Source, e.Value, e.Err) }
func (e *ValueError) Unwrap() error { return e.Err }

// Source is where values come from.
type Source struct {
	// Flags are those given on the command line, by name.
	Flags map[string]string
	// Env looks a variable up. Nil means that there are none.
	Env func(name string) (string, bool)
	// File is the path of orla-node.toml. Empty means the one that ORLA_CONFIG
	// names, or none.
	File string
}

// Resolve decides every setting. The error is a *[ValueError] for a flag or
// variable, [document.Problems] for the file; all that is wrong is in it.
func Resolve(src Source) (Serve, error) {
	env := src.Env
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	path := src.File
	if path == "" {
		path, _ = env(ConfigEnv)
	}
	inFile, err := readFile(path)
	if err != nil {
		return Serve{}, err
	}
	got := make(map[string]string)
	var wrong []error
	for _, s := range Table() {
		value, source := s.pick(src.Flags, env, inFile)
		if source != "" {
			if err := s.Check(value); err != nil {
				wrong = append(wrong, &ValueError{Source: source, Value: value, Err: err})
			}
		}
		got[s.Flag] = value
	}
	if err := errors.Join(wrong...); err != nil {
		return Serve{}, err
	}
	return serve(got)
}

// pick returns a setting's value and, if it still has to be checked, where it
// comes from.
func (s Setting) pick(flags map[string]string, env func(string) (string, bool), inFile map[string]string) (value, source string) {
	if v, ok := flags[s.Flag]; ok {
		return v, "--" + s.Flag
	}
	if v, ok := env(s.Env()); ok && v != "" && !names(s, v) {
		return v, s.Env()
	}
	if v, ok := env("PORT"); ok && v != "" && s.Flag == "http" {
		return ":" + v, "PORT"
	}
	return cmp.Or(inFile[s.Flag], s.Default), ""
}

// names reports whether a variable names a node to talk to, not a listener:
// ORLA_ADMIN has both meanings, and only a URL has a scheme.
func names(s Setting, value string) bool { return s.Flag == "admin" && strings.Contains(value, "://") }

// Check tells what is wrong with a value.
func (s Setting) Check(value string) error {
	if len(s.Values) > 0 {
		if slices.Contains(s.Values, value) {
			return nil
		}
		if nearest := release.Nearest(value, s.Values); nearest != "" {
			return fmt.Errorf("did you mean %q?", nearest)
		}
		return fmt.Errorf("want one of: %s", strings.Join(s.Values, ", "))
	}
	return s.check(value)
}

// CheckFile returns all problems of a node's file as [document.Problems].
func CheckFile(path string) error {
	_, err := readFile(path)
	return err
}

func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	doc, err := document.Read(path)
	if err != nil {
		return nil, err
	}
	return decode(doc, filepath.Dir(path))
}

// decode returns what a file in dir says, by flag.
func decode(doc *document.Document, dir string) (map[string]string, error) {
	var f file
	problems := doc.Decode(&f)
	values := f.values()
	for _, s := range Table() {
		if !doc.Has(s.Key()) || problems.Covers(s.Key()) {
			continue
		}
		if err := s.Check(values[s.Flag]); err != nil {
			problems = append(problems, doc.Problem(s.Key(), "%s = %q: %v", s.Key(), values[s.Flag], err))
		}
	}
	problems.Sort()
	for _, name := range slices.Concat([]string{"data"}, acmePaths, clusterPaths) {
		if d := values[name]; d != "" && !filepath.IsAbs(d) {
			values[name] = filepath.Join(dir, d)
		}
	}
	return values, problems.Err()
}

func serve(got map[string]string) (Serve, error) {
	s := Serve{
		HTTP: got["http"], HTTPS: got["https"], Admin: got["admin"], Node: got["node"],
		TLS: got["tls"], ReadyWhen: got["ready-when"], LogFormat: got["log-format"], ACME: acmeOf(got),
	}
	if err := s.LogLevel.UnmarshalText([]byte(got["log-level"])); err != nil {
		return Serve{}, fmt.Errorf("read log level: %w", err)
	}
	data, err := filepath.Abs(got["data"])
	if err != nil {
		return Serve{}, fmt.Errorf("find data directory %q: %w", got["data"], err)
	}
	s.Data = data
	if text := got["function-memory"]; text != "" {
		if s.FunctionMemory, err = parseSize(text); err != nil {
			return Serve{}, fmt.Errorf("read size %q: %w", text, err)
		}
	}
	if s.FunctionInstances, err = strconv.Atoi(got["function-instances"]); err != nil {
		return Serve{}, fmt.Errorf("read number of instances: %w", err)
	}
	s.Cluster, err = clusterOf(got)
	return s, err
}

// DefaultData returns where a node keeps its data if nobody says: where other
// commands look for it.
func DefaultData() string {
	return client.DefaultDataDir(func(name string) string {
		if name == "ORLA_DATA" { // goes before the file; this is what comes after
			return ""
		}
		return os.Getenv(name)
	})
}

func publicAddress(value string) error {
	if value == "off" {
		return nil
	}
	return address(value)
}

func address(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		if _, number := strconv.Atoi(value); number == nil {
			return fmt.Errorf("want HOST:PORT or :PORT, so :%s", value)
		}
		return errors.New("want HOST:PORT or :PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return nil
}

func filled(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	return nil
}

func nodeName(value string) error {
	const most = 63
	if len(value) > most {
		return fmt.Errorf("has more than %d characters", most)
	}
	for _, r := range value {
		if r <= ' ' || r == 0x7f {
			return errors.New("has a space or control character")
		}
	}
	return nil
}

// Bounds of what a person can mean.
const (
	leastMemory   = 64 << 20 // one instance of the usual size
	mostInstances = 10_000_000
)

func size(value string) error {
	_, err := parseSize(value)
	return err
}

func parseSize(value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n > math.MaxInt64 {
		return 0, errors.New("want a size such as 8GiB")
	}
	if n < leastMemory {
		return 0, errors.New("is less than 64MiB, which one function may need")
	}
	return int64(n), nil
}

func count(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > mostInstances {
		return fmt.Errorf("want a number from 1 to %d", mostInstances)
	}
	return nil
}
