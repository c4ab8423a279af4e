package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// fieldClientCA is where the client CAs are written.
const fieldClientCA = "tls.client_ca"

// tls converts [tls], but for the content of the client CAs' files. It returns nil
// where the file says nothing, so that a release is the same with an empty table and
// without one.
func (c *converter) tls(t *tlsTable) *orlav1.Tls {
	if t == nil {
		return nil
	}
	if len(t.ClientCA) == 0 && c.doc.Has(fieldClientCA) {
		c.reject(fieldClientCA, `the list is empty; name files with CAs, such as ["ca.pem"], or remove the line`)
	}
	out := &orlav1.Tls{Redirect: t.Redirect, OnDemand: t.OnDemand, ClientCa: t.ClientCA}
	if t.HSTS != nil {
		if !c.doc.Has("tls.hsts.max_age") {
			c.reject("tls.hsts", `hsts has no max_age; write hsts = { max_age = "180d" }`)
		}
		out.Hsts = &orlav1.Hsts{
			MaxAge:            durationpb.New(time.Duration(t.HSTS.MaxAge)),
			IncludeSubdomains: t.HSTS.IncludeSubdomains,
			Preload:           t.HSTS.Preload,
		}
	}
	if proto.Size(out) == 0 {
		return nil
	}
	return out
}

// isPEM reports whether a client CA is written as the PEM text itself.
func isPEM(written string) bool { return strings.Contains(written, "-----BEGIN ") }

// readClientCAs puts the content of the client CAs' files into t in place of their
// names. What cannot be had is rejected, and left out.
func readClientCAs(root *os.Root, t *orlav1.Tls, reject func(field, message string)) {
	var texts []string
	for i, written := range t.GetClientCa() {
		field := fmt.Sprintf("%s[%d]", fieldClientCA, i)
		content, problem := []byte(written), ""
		what := "the certificate"
		if !isPEM(written) {
			what = fmt.Sprintf("client CA %q", written)
			content, problem = readClientCA(root, written)
		}
		if problem == "" {
			canonical, err := release.CanonicalCAs(content)
			if err == nil {
				texts = append(texts, canonical)
				continue
			}
			problem = err.Error()
		}
		reject(field, what+": "+problem)
		texts = append(texts, "")
	}
	if t != nil {
		t.ClientCa = texts
	}
}

// readClientCA returns a file's content, or why it cannot be had.
func readClientCA(root *os.Root, name string) (content []byte, problem string) {
	if !filepath.IsLocal(name) {
		return nil, "it is outside the folder; put a copy inside it"
	}
	f, err := openRegular(root, clean(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "there is no such file; name one with the CA's certificate in PEM"
	}
	if err != nil {
		return nil, reason(err, true)
	}
	defer f.Close() //nolint:errcheck // only read
	if content, err = io.ReadAll(io.LimitReader(f, release.MaxClientCASize+1)); err != nil {
		return nil, reason(err, true)
	}
	return content, ""
}
