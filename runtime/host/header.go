package host

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ErrField is what [CheckField] wraps for a field that no header can hold.
var ErrField = errors.New("host: not a header field")

// MaxHeader is the size in bytes, names and values together, that a guest's
// response header or trailer may have.
const MaxHeader = 64 << 10

// CheckField reports whether name and value make a header field (RFC 9110, 5.1
// and 5.5).
func CheckField(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%w: name %q", ErrField, clip(name))
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%w: value %q of %s", ErrField, clip(value), name)
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 80)] }

// HopByHop reports whether the field named by canonical belongs to the connection
// (RFC 9110, 7.6.1) and so never passes between client and guest.
func HopByHop(canonical string) bool {
	switch canonical {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// Hidden reports whether the request field named by canonical is kept from guests:
// the connection's own, "Proxy" (which CGI programs take for HTTP_PROXY), and the
// node's, which may carry its tokens.
func Hidden(canonical string) bool {
	return HopByHop(canonical) || canonical == "Proxy" || strings.HasPrefix(canonical, "Orla-")
}

// Own reports whether the response field named by canonical is the node's to set: a
// guest's is dropped.
func Own(canonical string) bool {
	return HopByHop(canonical) || canonical == "X-Request-Id" || canonical == "Server" || strings.HasPrefix(canonical, "Orla-")
}

// CopyHeader moves a guest's header into dst, which may hold the node's: the guest's
// field replaces one of the same name, except where that is the node's own.
func CopyHeader(dst, guest http.Header) {
	for name, values := range guest {
		if !Own(name) {
			dst[name] = values
		}
	}
}
