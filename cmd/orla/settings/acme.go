package settings

import (
	"errors"
	"net/mail"
	"net/url"
	"strings"
)

// ACME is where certificates are ordered; see node.ACME.
type ACME struct {
	Email, Directory, CARoot       string
	EABKeyID, EABKeyFile           string
	Fallback                       string
	FallbackKeyID, FallbackKeyFile string
	DNS, DNSFile                   string
	DNSResolvers                   []string
}

func acmeTable() []Setting {
	return []Setting{
		{Flag: "acme-email", Usage: "`address` that the CA may write to, with --tls acme", check: email},
		{Flag: "acme-directory", Usage: "`URL` of the ACME server's directory (default: Let's Encrypt)", check: directory},
		{Flag: "acme-ca-root", Usage: "`file` in PEM with roots to trust when speaking to it, beside the system's", check: filled},
		{Flag: "acme-eab-key-id", Usage: "key `id` of the external account binding that some CAs ask for", check: filled},
		{Flag: "acme-eab-key-file", Usage: "`file` with its key, as the CA wrote it (base64url)", check: filled},
		{Flag: "acme-fallback", Usage: "`URL` of the directory of a second CA, for when the first does not issue", check: directory},
		{Flag: "acme-fallback-eab-key-id", Usage: "key `id` of the external account binding of --acme-fallback", check: filled},
		{Flag: "acme-fallback-eab-key-file", Usage: "`file` with its key", check: filled},
		{Flag: "acme-dns", Usage: "`provider` through which DNS-01 challenges are solved, the only ones then: rfc2136, exec; wildcards need it", Values: []string{"rfc2136", "exec"}},
		{Flag: "acme-dns-file", Usage: "`file` with the provider's settings, in JSON, mode 0600", check: filled},
		{Flag: "acme-dns-resolvers", Usage: "`addresses` that are asked whether a record has arrived, HOST:PORT,… (default: the zone's own servers)", check: filled},
	}
}

// acmePaths are the settings that name files.
var acmePaths = []string{"acme-ca-root", "acme-eab-key-file", "acme-fallback-eab-key-file", "acme-dns-file"} //nolint:gochecknoglobals // a constant

func (f *file) acmeValues() map[string]string {
	return map[string]string{
		"acme-email": f.ACMEEmail, "acme-directory": f.ACMEDirectory, "acme-ca-root": f.ACMECARoot,
		"acme-eab-key-id": f.ACMEEABKeyID, "acme-eab-key-file": f.ACMEEABKeyFile, "acme-fallback": f.ACMEFallback,
		"acme-fallback-eab-key-id": f.ACMEFallbackEABKeyID, "acme-fallback-eab-key-file": f.ACMEFallbackEABKeyFile,
		"acme-dns": f.ACMEDNS, "acme-dns-file": f.ACMEDNSFile, "acme-dns-resolvers": strings.Join(f.ACMEDNSResolvers, ","),
	}
}

func acmeOf(got map[string]string) ACME {
	return ACME{
		Email: got["acme-email"], Directory: got["acme-directory"], CARoot: got["acme-ca-root"],
		EABKeyID: got["acme-eab-key-id"], EABKeyFile: got["acme-eab-key-file"], Fallback: got["acme-fallback"],
		FallbackKeyID: got["acme-fallback-eab-key-id"], FallbackKeyFile: got["acme-fallback-eab-key-file"],
		DNS: got["acme-dns"], DNSFile: got["acme-dns-file"], DNSResolvers: list(got["acme-dns-resolvers"]),
	}
}

func email(value string) error {
	if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
		return errors.New("want an e-mail address such as admin@example.com")
	}
	return nil
}

func directory(value string) error {
	if u, err := url.Parse(value); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("want the URL of an ACME directory, https://HOST/PATH")
	}
	return nil
}
