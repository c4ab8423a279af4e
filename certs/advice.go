package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// advice says why a certificate could not be had, and what to do about it.
func advice(subject string, err error) string {
	from := ""
	if failed, ok := errors.AsType[*issueError](err); ok {
		from, err = failed.directory.URL, failed.err
	}
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		return problemAdvice(subject, from, worst(problem), errors.Is(err, errAccount))
	}
	if failed, ok := errors.AsType[*dnsError](err); ok {
		return fmt.Sprintf("the DNS-01 challenge of %s could not be set up: %v; check --acme-dns-file", subject, failed)
	}
	_, unknownOK := errors.AsType[x509.UnknownAuthorityError](err)
	dns, dnsOK := errors.AsType[*net.DNSError](err)
	_, netOK := errors.AsType[*net.OpError](err)
	switch {
	case unknownOK:
		return fmt.Sprintf("the ACME server at %s has a certificate that this machine does not trust; if it is your own, pass its root with --acme-ca-root FILE", from)
	case dnsOK:
		return fmt.Sprintf("the ACME server's name %s does not resolve on this node; check --acme-directory and the machine's DNS", dns.Name)
	case netOK:
		return fmt.Sprintf("the ACME server at %s cannot be reached: %v; check --acme-directory, and that this node may connect to it", from, cause(err))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("the ACME server at %s did not finish in time; it is tried again", from)
	case from != "":
		return fmt.Sprintf("%s: %v", from, err)
	}
	return err.Error()
}

// cause is the innermost error of a failed connection.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

// worst is the problem that says most: a problem about one identifier says more than the
// one around it.
func worst(p acme.Problem) acme.Problem {
	if len(p.Subproblems) == 0 {
		return p
	}
	return p.Subproblems[0].Problem
}

// problemType is p's type, or a better one where CAs are known to be vague about a name
// that they looked for in vain.
func problemType(p acme.Problem) string {
	if p.Type == acme.ProblemTypeMalformed || p.Type == acme.ProblemTypeUnauthorized {
		switch {
		case strings.Contains(p.Detail, "ould not resolve"):
			return acme.ProblemTypeDNS
		case strings.Contains(p.Detail, "ailed to connect"):
			return acme.ProblemTypeConnection
		}
	}
	return p.Type
}

// problemAdvice is about a CA's answer (RFC 8555 §6.7).
func problemAdvice(subject, from string, p acme.Problem, account bool) string {
	said := fmt.Sprintf("the CA says %q", p.Detail)
	switch problemType(p) {
	case acme.ProblemTypeExternalAccountRequired:
		return fmt.Sprintf("the CA at %s gives accounts to its customers only: pass the external account binding that it gave you with --acme-eab-key-id and --acme-eab-key-file (%s)", from, said)
	case acme.ProblemTypeConnection:
		return fmt.Sprintf("the CA could not connect to %s (%s): its DNS records have to lead to nodes of this cluster, with port 80 open to --http or port 443 to --https", subject, said)
	case acme.ProblemTypeDNS:
		return fmt.Sprintf("%s does not resolve (%s): add A or AAAA records that lead to nodes of this cluster", subject, said)
	case acme.ProblemTypeUnauthorized, acme.ProblemTypeIncorrectResponse, acme.ProblemTypeTLS:
		if !account {
			return fmt.Sprintf("the CA asked %s and was answered by something else (%s): check that its DNS records lead to nodes of this cluster only, and that no proxy before them answers /.well-known/acme-challenge/", subject, said)
		}
	case acme.ProblemTypeCAA:
		return fmt.Sprintf("a CAA record forbids this CA to issue for %s (%s): change the record, or --acme-directory", subject, said)
	case acme.ProblemTypeRateLimited:
		return fmt.Sprintf("the CA's limit for orders is reached (%s): it is tried again later", said)
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		return fmt.Sprintf("the CA does not issue for %s (%s): it has to be a public name, or import a certificate with `orla certs import %s`", subject, said, subject)
	}
	if account {
		return fmt.Sprintf("the CA at %s refuses an account (%s): check --acme-email and the external account binding", from, said)
	}
	return fmt.Sprintf("the order at %s failed: %s (%s)", from, said, p.Type)
}

// Waits after failed orders. A CA counts failed validations, five an hour for a host at
// some: what it has refused is not asked again soon. A server that does not answer counts
// nothing, and is to be found soon after it is back.
const (
	retryFirst   = 30 * time.Second
	retryNetwork = 10 * time.Minute
	retryRefused = 6 * time.Hour
)

// patience is how long to wait after so many failures.
func patience(err error, attempts uint32) time.Duration {
	limit, wait := retryNetwork, retryFirst
	if problem, ok := errors.AsType[acme.Problem](err); ok && problem.Status < 500 {
		limit, wait = retryRefused, time.Minute
		if problem.Type == acme.ProblemTypeRateLimited {
			wait = time.Hour
		}
	}
	for range min(attempts, 20) - 1 {
		wait *= 2
	}
	return min(wait, limit)
}
