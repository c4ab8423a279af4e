package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// Providers of [LoadDNS].
const (
	DNSUpdate = "rfc2136" // a DNS server that takes dynamic updates
	DNSExec   = "exec"    // a program
)

// DNS solves DNS-01 challenges (RFC 8555 §8.4).
type DNS struct {
	provider  certmagic.DNSProvider
	resolvers []string
}

func (d *DNS) solver(log *zap.Logger) acmez.Solver {
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: d.provider, Resolvers: d.resolvers, TTL: challengeTTL, Logger: log,
	}}
}

// maxDNSFile bounds the size of a provider's file in bytes.
const maxDNSFile = 64 << 10

// LoadDNS reads the settings of a provider, a JSON object in a file that others must not
// be able to read. Whether a record has arrived is asked of the resolvers, HOST:PORT each;
// none: of the zone's own servers.
//
// The error names what is wrong with the settings, and what they are.
func LoadDNS(provider, file string, resolvers []string) (*DNS, error) {
	for _, r := range resolvers {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return nil, fmt.Errorf("--acme-dns-resolvers: %q is no HOST:PORT, such as 9.9.9.9:53", r)
		}
	}
	if provider == "" || file == "" {
		return nil, errors.New("--acme-dns PROVIDER and --acme-dns-file FILE go together")
	}
	text, err := readPrivate(file)
	if err != nil {
		return nil, fmt.Errorf("--acme-dns-file: %w", err)
	}
	d := &DNS{resolvers: resolvers}
	switch provider {
	case DNSUpdate:
		d.provider, err = newUpdater(text)
	case DNSExec:
		d.provider, err = newRunner(text)
	default:
		return nil, fmt.Errorf("--acme-dns: no provider %q; there are %s and %s", provider, DNSUpdate, DNSExec)
	}
	if err != nil {
		return nil, fmt.Errorf("--acme-dns-file: %s: %w", file, err)
	}
	return d, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read %s, which has a secret in it: chmod 600 %s", name, name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDNSFile+1))
	if err == nil && len(text) > maxDNSFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxDNSFile)
	}
	return text, err
}

// decodeSettings reads a provider's settings; what it does not know it refuses by name.
func decodeSettings(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(to)
	if err == nil && d.More() {
		err = errors.New("there is something after the object")
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is no JSON: at byte %d: %w", syntax.Offset, err)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// missing says which settings are not there, of pairs of a setting's value and what it is.
func missing(pairs ...string) error {
	var what []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "" {
			what = append(what, pairs[i+1])
		}
	}
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("it lacks %s", strings.Join(what, ", and "))
}

// dnsError is why a record could not be changed.
type dnsError struct{ err error }

func (e *dnsError) Error() string { return e.err.Error() }
func (e *dnsError) Unwrap() error { return e.err }

// eachRecord calls do with each record's full name and value, and returns the records.
func eachRecord(zone string, records []libdns.Record, do func(name, value string) error) ([]libdns.Record, error) {
	for i, r := range records {
		rr := r.RR()
		if rr.Type != "TXT" {
			return records[:i], fmt.Errorf("a record of type %s, want TXT", rr.Type)
		}
		if err := do(libdns.AbsoluteName(rr.Name, zone), rr.Data); err != nil {
			return records[:i], &dnsError{err}
		}
	}
	return records, nil
}

var _ certmagic.DNSProvider = (*updater)(nil)

// AppendRecords implements [libdns.RecordAppender].
func (u *updater) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return eachRecord(zone, records, func(name, value string) error { return u.update(ctx, zone, name, value, true) })
}

// DeleteRecords implements [libdns.RecordDeleter].
func (u *updater) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return eachRecord(zone, records, func(name, value string) error { return u.update(ctx, zone, name, value, false) })
}

var _ certmagic.DNSProvider = (*runner)(nil)

// AppendRecords implements [libdns.RecordAppender].
func (r *runner) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return eachRecord(zone, records, func(name, value string) error { return r.run(ctx, "set", name, value) })
}

// DeleteRecords implements [libdns.RecordDeleter].
func (r *runner) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return eachRecord(zone, records, func(name, value string) error { return r.run(ctx, "clear", name, value) })
}
