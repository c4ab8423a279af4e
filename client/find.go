package client

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
)

const (
	// adminAddrFile holds, in a node's data directory, the URL of its admin API.
	adminAddrFile = "admin.addr"
	// adminTokenFile holds the token of the node's first start.
	adminTokenFile = "admin.token"

	rootDataDir = "/var/lib/orla"
	// maxLineFile is the size of the largest address or token file in bytes.
	maxLineFile = 4 << 10
)

var (
	// ErrNoNode is returned by [Find] when nothing says where a node is.
	ErrNoNode = errors.New("client: no node found")
	// ErrNoToken is returned by [Find] when there is a node but no token for it.
	ErrNoToken = errors.New("client: no token found")
)

// Options says where the node is and with what token to call it. What is empty
// is looked up: environment, contexts, then this machine's data directory.
type Options struct {
	// Admin is the admin API's URL, or host:port.
	Admin string
	// Token is the secret itself.
	Token string
	// TokenFile is a file that holds the secret.
	TokenFile string
	// Context names an entry of contexts.toml.
	Context string
	// DataDir is the data directory of a node on this machine. If set, that node
	// is meant, whatever environment and contexts say.
	DataDir string
	// Getenv reads the environment. Nil means os.Getenv.
	Getenv func(string) string
}

// target is what [Find] decided.
type target struct {
	url   string // without a slash at the end
	token string
	// whence they came, for messages
	urlFrom, tokenFrom string
	local              bool // a node of this machine
}

// Find decides which node is meant and returns its client; it connects to
// nothing. The order is: Admin, DataDir and Context; ORLA_ADMIN; the current
// context of contexts.toml in the XDG configuration folder; the node of this
// machine. For the token likewise: Token and TokenFile; ORLA_TOKEN; what belongs
// to the node as it was found. A token that was found by itself goes to no other
// node than its own. Errors wrap [ErrNoNode] or [ErrNoToken] where that is it.
func Find(o Options) (*Client, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	t, err := o.node()
	if err != nil {
		return nil, err
	}
	if err := o.token(&t); err != nil {
		return nil, err
	}
	if t.token == "" {
		return nil, fmt.Errorf("%w for %s: set ORLA_TOKEN, pass --token-file, or name the token in %s", ErrNoToken, t.url, o.contextsFile())
	}
	return newClient(t), nil
}

// DefaultDataDir returns a node's data directory where none is named: ORLA_DATA,
// else /var/lib/orla for root, else orla in the XDG data home. Nil means
// os.Getenv.
func DefaultDataDir(getenv func(string) string) string {
	if getenv == nil {
		getenv = os.Getenv
	}
	if dir := getenv("ORLA_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return rootDataDir
	}
	return filepath.Join(xdgHome(getenv, "XDG_DATA_HOME", xdg.DataHome), "orla")
}

// xdgHome returns an XDG base directory; the specification ignores relative
// ones.
func xdgHome(getenv func(string) string, name, fallback string) string {
	if dir := getenv(name); filepath.IsAbs(dir) {
		return dir
	}
	return fallback
}

// node finds the node, and the token that is found with it.
func (o Options) node() (target, error) {
	switch {
	case o.Admin != "":
		return o.named(o.Admin, "--admin")
	case o.DataDir != "":
		return o.local(o.DataDir)
	case o.Context != "":
		return o.context(o.Context)
	case o.Getenv("ORLA_ADMIN") != "":
		return o.named(o.Getenv("ORLA_ADMIN"), "ORLA_ADMIN")
	}
	current, err := o.currentContext()
	if err != nil {
		return target{}, err
	}
	if current != "" {
		return o.context(current)
	}
	return o.local(DefaultDataDir(o.Getenv))
}

// named is the node at an address. If that is this machine's node, its token is
// at hand.
func (o Options) named(admin, from string) (target, error) {
	address, err := parseAdmin(admin)
	if err != nil {
		return target{}, fmt.Errorf("%s: %w", from, err)
	}
	t := target{url: address, urlFrom: from}
	if local, err := o.local(cmp.Or(o.DataDir, DefaultDataDir(o.Getenv))); err == nil && local.url == address {
		t.token, t.tokenFrom, t.local = local.token, local.tokenFrom, true
	}
	return t, nil
}

// local is the node whose data directory is dir.
func (o Options) local(dir string) (target, error) {
	path := filepath.Join(dir, adminAddrFile)
	text, err := readLine(path)
	if errors.Is(err, fs.ErrNotExist) {
		return target{}, fmt.Errorf("%w on this machine (there is no %s): start one with `orla serve`, or name one with --admin and --token-file%s", ErrNoNode, path, hint(dir))
	}
	if err != nil {
		return target{}, fmt.Errorf("find the node of this machine: %w", err)
	}
	address, err := parseAdmin(text)
	if err != nil {
		return target{}, fmt.Errorf("%s: %w", path, err)
	}
	t := target{url: address, urlFrom: path, tokenFrom: filepath.Join(dir, adminTokenFile), local: true}
	if o.Token != "" || o.TokenFile != "" || o.Getenv("ORLA_TOKEN") != "" {
		return t, nil // the node's own need not be readable
	}
	t.token, err = readToken(t.tokenFrom)
	if errors.Is(err, fs.ErrPermission) {
		return target{}, fmt.Errorf("%w: %s belongs to another user; run the command as that user, or set ORLA_TOKEN to a token from `orla token create`", ErrNoToken, t.tokenFrom)
	}
	if err != nil {
		return target{}, fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	return t, nil
}

// hint tells of root's node to somebody else who found none in dir.
func hint(dir string) string {
	if dir == rootDataDir || os.Geteuid() == 0 {
		return ""
	}
	if _, err := os.Stat(rootDataDir); err != nil {
		return ""
	}
	return "; root seems to run one (" + rootDataDir + "): try sudo"
}

// token replaces the token by one that was named.
func (o Options) token(t *target) error {
	var err error
	switch {
	case o.Token != "":
		t.token, t.tokenFrom = o.Token, "--token"
	case o.TokenFile != "":
		t.tokenFrom = o.TokenFile
		if t.token, err = readToken(o.TokenFile); err != nil {
			return fmt.Errorf("%w: %w", ErrNoToken, err)
		}
	case o.Getenv("ORLA_TOKEN") != "":
		t.token, t.tokenFrom = o.Getenv("ORLA_TOKEN"), "ORLA_TOKEN"
	}
	t.token = strings.TrimSpace(t.token)
	if strings.ContainsFunc(t.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the token from %s is not one: it has spaces or other characters that no token has", t.tokenFrom)
	}
	return nil
}

func readToken(path string) (string, error) {
	token, err := readLine(path)
	if err == nil && token == "" {
		return "", fmt.Errorf("token file %s is empty", path)
	}
	return token, err
}

// readLine returns the content of a small file without the space around it.
func readLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxLineFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxLineFile {
		return "", fmt.Errorf("%s is larger than %d bytes: it is some other file", path, maxLineFile)
	}
	return strings.TrimSpace(string(text)), nil
}

// parseAdmin makes a base URL of an address. Its errors do not repeat the
// address: there may be a password in it.
func parseAdmin(text string) (string, error) {
	const want = `want a URL such as "http://127.0.0.1:7070", or host:port`
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("the address is not valid; %s", want)
	case u.User != nil:
		return "", errors.New("the address has a user name in it; pass the token by ORLA_TOKEN or --token-file instead")
	case u.Scheme != "http" && u.Scheme != "https", u.RawQuery != "", u.Fragment != "", u.Host == "":
		return "", fmt.Errorf("the address is not valid; %s", want)
	}
	if u.Hostname() == "" { // ":7070"
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return strings.TrimRight(u.String(), "/"), nil
}
