// Package doctor looks at what a node needs of its machine, and at whether the
// node answers, and says for everything that is not well what to do. It changes
// nothing, and knows no commands.
package doctor

import (
	"context"
	"crypto/x509"
	"net/http"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Status is how a check went.
type Status string

// What a check can come to.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works, but somebody should look
	Fail Status = "fail" // does not work
)

// Finding is one line of the report.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	// Next is what to do; empty if there is nothing.
	Next string `json:"next"`
}

// Config says what to look at.
type Config struct {
	// Data is the node's data directory on this machine.
	Data string
	// Local tells that the node asked is meant to run on this machine, with Data.
	Local bool
	// HTTP, HTTPS and Admin are the addresses that a node here would listen on;
	// empty or "off" means none.
	HTTP, HTTPS, Admin string
	// FunctionMemory and FunctionInstances are what functions on a node here would have
	// between them, bytes and a number. Zero bytes mean half of the machine's.
	FunctionMemory    int64
	FunctionInstances int
	// Compile tries whether a module can be compiled within limits. Nil means not to.
	Compile func(context.Context) error
	// Version of this binary.
	Version string
	// URL is where the node's API is looked for. Empty means that nothing says
	// where; then the error of Node tells why.
	URL string
	// Node asks the node. Its error says what to do.
	Node func(context.Context) (*orlav1.GetNodeResponse, error)
	// Certificates asks the node for those that are in such states. Nil means not to.
	Certificates func(context.Context, ...orlav1.Certificate_State) (*orlav1.ListCertificatesResponse, error)
	// HTTPClient is used to see whether anything answers at URL. Nil means
	// http.DefaultClient.
	HTTPClient *http.Client
	// Roots are the CAs that this machine trusts. Nil means those of the system.
	Roots *x509.CertPool
}

// Examine makes all checks, in the order in which they should be read.
func Examine(ctx context.Context, c Config) []Finding {
	node, found := c.node(ctx)
	if node.GetNode() != "" {
		found = append(found, c.certificates(ctx)...)
	}
	if c.Local {
		found = append(c.data(), found...)
		if node == nil {
			found = append(found, c.ports(ctx)...)
		}
		found = append(found, kernel()...)
		found = append(found, c.functions(ctx)...)
		found = append(found, c.authority()...)
	}
	return found
}

// Worst returns the worst status of the findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || f.Status == Warn && worst == OK {
			worst = f.Status
		}
	}
	return worst
}
