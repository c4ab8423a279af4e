package certs

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// LetsEncrypt is the ACME directory that is used where none is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Directory is an ACME server (RFC 8555).
type Directory struct {
	// URL of the directory. Empty means LetsEncrypt.
	URL string
	// EABKeyID and EABKey are the external account binding (RFC 8555 §7.3.4) that some
	// CAs ask for; the key in unpadded base64url. Empty means none.
	EABKeyID, EABKey string
}

// ACME says where certificates are ordered.
type ACME struct {
	// Directories in the order in which they are tried. Required.
	Directories []Directory
	// Email is told to the CA, for what it has to say. Empty means none.
	Email string
	// RootFile is a file in PEM of roots to trust beside the system's when speaking to
	// the directories. Empty means none.
	RootFile string
	// DNS solves DNS-01 challenges, which then are the only ones. Nil means HTTP-01 and
	// TLS-ALPN-01.
	DNS *DNS
}

// acmeIssuer orders certificates from one directory.
type acmeIssuer struct {
	directory Directory
	email     string
	register  Register
	book      *book
	client    *acmez.Client

	mu sync.Mutex // held while the account is made
}

var _ certmagic.Issuer = (*acmeIssuer)(nil)

// Bounds of what a CA may cost.
const (
	acmeRequest = time.Minute      // one HTTP request
	acmePoll    = 90 * time.Second // waiting for the CA to have looked
)

func newIssuer(cfg ACME, d Directory, client *http.Client, b *book, r Register, log *slog.Logger) *acmeIssuer {
	d.URL = cmp.Or(d.URL, LetsEncrypt)
	iss := &acmeIssuer{directory: d, email: cfg.Email, register: r, book: b}
	iss.client = &acmez.Client{
		Client: &acme.Client{
			Directory: d.URL, HTTPClient: client, UserAgent: "Orla", PollTimeout: acmePoll, Logger: slog.New(demoted{log.Handler()}),
		},
		ChallengeSolvers: map[string]acmez.Solver{},
	}
	if cfg.DNS != nil {
		iss.client.ChallengeSolvers[acme.ChallengeTypeDNS01] = cfg.DNS.solver(newZap(log))
		return iss
	}
	for _, kind := range []string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01} {
		iss.client.ChallengeSolvers[kind] = solver{b, r}
	}
	return iss
}

// acmeHTTP returns the client for speaking to directories.
func acmeHTTP(rootFile string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: acmeRequest, ForceAttemptHTTP2: true,
		IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
	}
	if rootFile != "" {
		text, err := os.ReadFile(rootFile)
		if err != nil {
			return nil, fmt.Errorf("--acme-ca-root: read the ACME server's root: %w; name the file in PEM that has it, or leave the flag out for a public CA", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--acme-ca-root: %s has no certificate in PEM; pass the file that begins with -----BEGIN CERTIFICATE-----", rootFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: acmeRequest}, nil
}

// checkDirectory says what is wrong with how a directory is named.
func checkDirectory(d Directory) error {
	u, err := url.Parse(cmp.Or(d.URL, LetsEncrypt))
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("the ACME directory %q is no URL; write https://HOST/PATH", d.URL)
	case u.Scheme != "https":
		return fmt.Errorf("the ACME directory %q has to begin with https:// (RFC 8555 §6.1)", d.URL)
	case (d.EABKeyID == "") != (d.EABKey == ""):
		return fmt.Errorf("the external account binding for %s takes both a key id and a key: pass --acme-eab-key-id and --acme-eab-key-file, or for a second CA --acme-fallback-eab-key-id and --acme-fallback-eab-key-file", u)
	}
	if _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(d.EABKey, "=")); err != nil {
		return fmt.Errorf("the key of the external account binding for %s is no base64url: its file has to hold what the CA calls HMAC key, and nothing else", u)
	}
	return nil
}

// IssuerKey implements [certmagic.Issuer]: host and path of the directory.
func (iss *acmeIssuer) IssuerKey() string {
	_, rest, _ := strings.Cut(iss.directory.URL, "://")
	return strings.NewReplacer("/", "-", ":", "-").Replace(strings.TrimSuffix(rest, "/"))
}

// replacing is the context key of the certificate that is being renewed.
type replacing struct{}

// Issue implements [certmagic.Issuer].
func (iss *acmeIssuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	for again := false; ; again = true {
		account, err := iss.account(ctx)
		if err != nil {
			return nil, iss.failed(err)
		}
		params, err := acmez.OrderParametersFromCSR(account, request)
		if err != nil {
			return nil, iss.failed(err)
		}
		params.Replaces = iss.replaced(ctx)
		chains, err := iss.client.ObtainCertificate(ctx, params)
		if params.Replaces != nil && refusesReplacing(err) {
			params.Replaces = nil
			chains, err = iss.client.ObtainCertificate(ctx, params)
		}
		if problem, ok := errors.AsType[acme.Problem](err); ok && problem.Type == acme.ProblemTypeAccountDoesNotExist && !again {
			// The CA has forgotten the account: it was set up anew.
			if err := iss.forgetAccount(ctx); err != nil {
				return nil, iss.failed(err)
			}
			continue
		}
		switch {
		case err != nil:
			return nil, iss.failed(err)
		case len(chains) == 0:
			return nil, iss.failed(errors.New("the CA sent no certificate"))
		}
		return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
	}
}

// replaced returns the certificate of this CA that is being renewed; nil: there is none.
func (iss *acmeIssuer) replaced(ctx context.Context) *x509.Certificate {
	old, ok := ctx.Value(replacing{}).(*held)
	if !ok || old.GetDirectory() != certmagic.StorageKeys.Safe(iss.IssuerKey()) {
		return nil
	}
	leaf, err := x509.ParseCertificate(old.GetChain()[0])
	if err != nil {
		return nil // an order like any other
	}
	return leaf
}

// refusesReplacing reports whether a CA may have refused an order for the certificate
// that it is to replace (RFC 9773 §5): one that was set up anew does not know it, and one
// that has given it to another account does not say so.
func refusesReplacing(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	if _, validated := problem.Resource.(acme.Authorization); !ok || validated {
		return false
	}
	return problem.Type == acme.ProblemTypeMalformed || problem.Type == acme.ProblemTypeUnauthorized || problem.Status == http.StatusNotFound
}

// issueError is why a directory did not issue.
type issueError struct {
	directory Directory
	err       error
}

func (e *issueError) Error() string { return fmt.Sprintf("%s: %v", e.directory.URL, e.err) }
func (e *issueError) Unwrap() error { return e.err }

func (iss *acmeIssuer) failed(err error) error { return &issueError{iss.directory, err} }

// renewal asks the CA when it wants a certificate renewed (RFC 9773).
func (iss *acmeIssuer) renewal(ctx context.Context, leaf *x509.Certificate) (acme.RenewalInfo, error) {
	return iss.client.GetRenewalInfo(ctx, leaf)
}

// accountKey is the register's key of the account.
func (iss *acmeIssuer) accountKey() string {
	sum := sha256.Sum256([]byte(iss.directory.URL + "\n" + iss.email + "\n" + iss.directory.EABKeyID))
	return accountPrefix + hex.EncodeToString(sum[:16])
}

// account returns the account that all nodes share, a new one if there is none.
func (iss *acmeIssuer) account(ctx context.Context) (acme.Account, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if e := iss.book.entry(iss.accountKey()); e.Value != nil {
		return iss.openAccount(e.Value)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, fmt.Errorf("make account key: %w", err)
	}
	account := acme.Account{PrivateKey: key, TermsOfServiceAgreed: true}
	if iss.email != "" {
		account.Contact = []string{"mailto:" + iss.email}
	}
	if iss.directory.EABKeyID != "" {
		binding := acme.EAB{KeyID: iss.directory.EABKeyID, MACKey: strings.TrimRight(iss.directory.EABKey, "=")}
		if err := account.SetExternalAccountBinding(ctx, iss.client.Client, binding); err != nil {
			return acme.Account{}, accountError(err)
		}
	}
	if account, err = iss.client.NewAccount(ctx, account); err != nil {
		return acme.Account{}, accountError(err)
	}
	return account, iss.keepAccount(ctx, account)
}

// errAccount: the CA does not give this node an account.
var errAccount = errors.New("make an account")

func accountError(err error) error { return fmt.Errorf("%w: %w", errAccount, err) }

func (iss *acmeIssuer) openAccount(value []byte) (acme.Account, error) {
	var stored orlav1.CertAccount
	var account acme.Account
	if err := proto.Unmarshal(value, &stored); err != nil {
		return account, fmt.Errorf("read account: %w", err)
	}
	if err := json.Unmarshal(stored.GetAccount(), &account); err != nil {
		return account, fmt.Errorf("read account: %w", err)
	}
	der, err := iss.book.sealer.Open(stored.GetKey(), iss.accountKey())
	if err != nil {
		return account, fmt.Errorf("open account's key: %w", err)
	}
	account.PrivateKey, err = parsePKCS8(der)
	return account, err
}

func (iss *acmeIssuer) keepAccount(ctx context.Context, account acme.Account) error {
	text, err := json.Marshal(account)
	if err != nil {
		return fmt.Errorf("encode account: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(account.PrivateKey)
	if err != nil {
		return errors.New("encode account's key: it cannot be")
	}
	sealed, err := iss.book.sealer.Seal(der, iss.accountKey())
	if err != nil {
		return err
	}
	value, err := proto.Marshal(&orlav1.CertAccount{
		Directory: iss.directory.URL, Email: iss.email, Account: text, Key: sealed, Created: timestamppb.Now(),
	})
	if err != nil {
		return err
	}
	return iss.register.Commit(ctx, iss.accountKey(), value, 0)
}

func (iss *acmeIssuer) forgetAccount(ctx context.Context) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	e := iss.book.entry(iss.accountKey())
	if e.Value == nil {
		return nil
	}
	return iss.register.Commit(ctx, iss.accountKey(), nil, e.Revision)
}

// demoted writes at Debug what acmez tells: what matters of it is in the errors.
type demoted struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements [slog.Handler].
func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }
