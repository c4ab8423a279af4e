package doctor

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// maxRoot is the most bytes of a root certificate's file that are read.
const maxRoot = 64 << 10

// authority tells about the node's own CA: fingerprint, file, and how to make
// this machine trust it.
func (c Config) authority() []Finding {
	path, root, err := Root(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"root CA", OK, "there is none yet; the first start with --tls internal makes it", ""}}
	}
	if err != nil {
		return []Finding{{"root CA", Fail, err.Error(), "run this as the user that the node runs as"}}
	}
	f := Finding{"root CA", OK, fmt.Sprintf("%s\nSHA-256 %s\nvalid until %s", path, Fingerprint(root), root.NotAfter.Format(time.DateOnly)), ""}
	if time.Now().After(root.NotAfter) {
		f.Status, f.Next = Fail, "it is no longer valid; move the file's folder away and restart the node, which makes a new one"
		return []Finding{f}
	}
	if _, err := root.Verify(x509.VerifyOptions{Roots: c.Roots}); err != nil {
		f.Status, f.Next = Warn, "this machine does not trust it: "+trust(runtime.GOOS, path)+"; browsers and other machines: orla doctor --trust"
	}
	return []Finding{f}
}

// Root reads the root certificate of the node's own CA from its data directory, and says
// where it is.
func Root(data string) (path string, root *x509.Certificate, err error) {
	path = filepath.Join(data, "certs", "root.pem")
	root, err = readRoot(path)
	return path, root, err
}

func readRoot(path string) (*x509.Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, maxRoot)
	n, err := f.Read(b)
	if err != nil {
		return nil, fmt.Errorf("read root certificate: %w", err)
	}
	block, _ := pem.Decode(bytes.TrimSpace(b[:n]))
	if block == nil {
		return nil, fmt.Errorf("read root certificate %s: it is not PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read root certificate %s: %w", path, err)
	}
	return cert, nil
}

// Fingerprint returns a certificate's SHA-256 as browsers show it.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	var pairs []string
	for i := 0; i < len(text); i += 2 {
		pairs = append(pairs, text[i:i+2])
	}
	return strings.Join(pairs, ":")
}

// trust is the command that makes a machine trust a root certificate.
func trust(system, path string) string {
	always := "; for one request: curl --cacert " + path
	switch {
	case system == "darwin":
		return "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain " + path + always
	case exists("/etc/pki/ca-trust/source/anchors"):
		return "sudo cp " + path + " /etc/pki/ca-trust/source/anchors/orla.crt && sudo update-ca-trust" + always
	default:
		return "sudo cp " + path + " /usr/local/share/ca-certificates/orla.crt && sudo update-ca-certificates" + always
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
