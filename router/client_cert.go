package router

import (
	"fmt"
	"slices"
	"strings"
)

// Values of [Route.ClientCert] that are no names.
const (
	// AnyClientCert is met by every trusted client certificate.
	AnyClientCert = "*"
	// NoClientCert is met by a request without one.
	NoClientCert = "none"
)

// ClientCert is a client's certificate that the caller trusts.
type ClientCert struct {
	// Names that it is for. They are compared with a condition byte by byte.
	Names []string
}

// meets reports whether a request with the certificate c, nil if it has none, meets
// the condition want, "" being met by all.
func (c *ClientCert) meets(want string) bool {
	switch want {
	case "":
		return true
	case NoClientCert:
		return c == nil
	case AnyClientCert:
		return c != nil
	}
	return c != nil && slices.Contains(c.Names, want)
}

// mismatch says why c does not meet want; "" if it does.
func (c *ClientCert) mismatch(want string) string {
	switch {
	case c.meets(want):
		return ""
	case want == NoClientCert:
		return "there is a client certificate, want none"
	case c == nil && want == AnyClientCert:
		return "client certificate is missing"
	case c == nil:
		return fmt.Sprintf("client certificate is missing, want one for %q", want)
	case len(c.Names) == 0:
		return fmt.Sprintf("client certificate has no name, want %q", want)
	}
	return fmt.Sprintf("client certificate is for %q, want %q", strings.Join(c.Names, ", "), want)
}
