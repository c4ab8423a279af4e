package certs

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// challengeTTL is for how long a challenge's record may be kept by resolvers.
	challengeTTL = time.Minute
	// dnsLimit bounds one change of a record.
	dnsLimit = time.Minute
	// tsigFudge is how many seconds clocks may differ (RFC 8945 §5.2.3).
	tsigFudge = 300
	// maxHookOutput is how many bytes of what a program prints its error quotes.
	maxHookOutput = 512
)

// updater changes records of a DNS server by dynamic updates (RFC 2136) that are signed
// with a shared key (RFC 8945).
type updater struct {
	server    string
	keyName   string
	algorithm string
	key       string
}

// updateSettings are an updater's settings.
type updateSettings struct {
	Server       string `json:"server"`
	KeyName      string `json:"key_name"`
	KeyAlgorithm string `json:"key_algorithm"`
	Key          string `json:"key"`
}

func newUpdater(text []byte) (*updater, error) {
	var s updateSettings
	if err := decodeSettings(text, &s); err != nil {
		return nil, err
	}
	if err := missing(
		s.Server, `"server", the zone's primary server, HOST:PORT`,
		s.KeyName, `"key_name", the name of the TSIG key that the server knows`,
		s.Key, `"key", its secret in base64`,
	); err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(s.Server); err != nil {
		s.Server = net.JoinHostPort(s.Server, "53")
	}
	if _, err := base64.StdEncoding.DecodeString(s.Key); err != nil {
		return nil, errors.New(`"key" is not base64`)
	}
	algorithm := dns.Fqdn(cmp.Or(strings.ToLower(s.KeyAlgorithm), "hmac-sha256"))
	switch algorithm {
	case dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
	default:
		return nil, fmt.Errorf(`"key_algorithm" is %q, want hmac-sha256, hmac-sha224, hmac-sha384 or hmac-sha512`, s.KeyAlgorithm)
	}
	return &updater{server: s.Server, keyName: dns.CanonicalName(s.KeyName), algorithm: algorithm, key: s.Key}, nil
}

// update adds a TXT record, or removes it.
func (u *updater) update(ctx context.Context, zone, name, value string, add bool) error {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	rr := []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(challengeTTL / time.Second)},
		Txt: []string{value},
	}}
	if add {
		m.Insert(rr)
	} else {
		m.Remove(rr)
	}
	m.SetTsig(u.keyName, u.algorithm, tsigFudge, time.Now().Unix())
	client := &dns.Client{Net: "tcp", TsigSecret: map[string]string{u.keyName: u.key}, Timeout: 10 * time.Second}
	answer, _, err := client.ExchangeContext(ctx, m, u.server)
	if err == nil && answer.Rcode != dns.RcodeSuccess {
		err = errors.New(answerText(answer.Rcode))
	}
	if err != nil {
		return fmt.Errorf("change TXT record of %s at %s: %w", name, u.server, err)
	}
	return nil
}

// answerText says what a server's answer to an update means.
func answerText(code int) string {
	said := "the server answers " + dns.RcodeToString[code]
	switch code {
	case dns.RcodeNotAuth, dns.RcodeBadSig, dns.RcodeBadTime:
		return said + ": check key_name, key and key_algorithm, and both clocks; or it has no such zone"
	case dns.RcodeRefused:
		return said + ": its update policy has to let this key change TXT records"
	}
	return said
}

// runner changes records through a program.
type runner struct{ command []string }

// runSettings are a runner's settings.
type runSettings struct {
	Command []string `json:"command"`
}

func newRunner(text []byte) (*runner, error) {
	var s runSettings
	if err := decodeSettings(text, &s); err != nil {
		return nil, err
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return nil, errors.New(`it lacks "command", a list: a program and its arguments, which is called with "set" or "clear", the record's name and its value after them`)
	}
	if _, err := exec.LookPath(s.Command[0]); err != nil {
		return nil, fmt.Errorf(`"command": %w`, err)
	}
	return &runner{s.Command}, nil
}

// run calls the program.
func (r *runner) run(ctx context.Context, what, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	args := append(append([]string{}, r.command[1:]...), what, name, value)
	cmd := exec.CommandContext(ctx, r.command[0], args...) //nolint:gosec // what the node's owner has put into its settings
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s %s: %w: %q", r.command[0], what, name, err, out[:min(len(out), maxHookOutput)])
	}
	return nil
}
