package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/orla-edge/orla/cmd/orla/doctor"
	"github.com/orla-edge/orla/cmd/orla/settings"
)

// What --trust does.
const (
	trustPrint   = "print"
	trustInstall = "install"
)

// rootShape is the internal CA's root.
type rootShape struct {
	Path        string    `json:"path"`
	SHA256      string    `json:"sha256"`
	Name        string    `json:"name"`
	Until       time.Time `json:"until"`
	PEM         string    `json:"pem"`
	InstalledIn []string  `json:"installedIn,omitempty"`
}

// trust prints the internal CA's root and how to trust it, or makes this machine do so.
func (n *nodeFlags) trust(ctx context.Context, config, what string, asJSON bool) error {
	if what != trustPrint && what != trustInstall {
		return usagef("--trust=%s is not known; it is --trust or --trust=install", what)
	}
	if n.admin != "" || n.context != "" {
		return usagef("--trust reads the root from the data directory of a node on this machine; run it there, and copy certs/root.pem to machines that are to trust it")
	}
	src := settings.Source{Env: n.c.env, File: config}
	if n.data != "" {
		src.Flags = map[string]string{"data": n.data}
	}
	s, err := settings.Resolve(src)
	if err != nil {
		return err
	}
	path, root, err := doctor.Root(s.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no root at %s yet: the first start of a node makes it; --data names another data directory", path)
	}
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	shape := rootShape{
		Path: path, SHA256: doctor.Fingerprint(root), Name: root.Subject.CommonName, Until: root.NotAfter,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})),
	}
	if what == trustInstall {
		shape.InstalledIn, err = n.c.installRoot(ctx, shape, root)
	}
	switch {
	case err != nil:
		return err
	case asJSON:
		return n.c.json(shape)
	case what == trustInstall:
		return n.c.printf("%s is trusted now by %s\n  SHA-256 %s\n", shape.Name, strings.Join(shape.InstalledIn, ", and by "), shape.SHA256)
	}
	return n.c.printf("%s", trustText(shape))
}

// trustText says how to trust a root.
func trustText(s rootShape) string {
	return fmt.Sprintf(`%[2]s
  file     %[1]s
  SHA-256  %[3]s
  until    %[4]s

Copy the file to who is to trust it (never root.key), compare the fingerprint, then:

  Debian, Ubuntu   sudo cp root.pem /usr/local/share/ca-certificates/orla.crt && sudo update-ca-certificates
  Fedora, RHEL     sudo cp root.pem /etc/pki/ca-trust/source/anchors/orla.crt && sudo update-ca-trust
  Alpine           sudo cp root.pem /usr/local/share/ca-certificates/orla.crt && sudo update-ca-certificates
  Arch             sudo trust anchor root.pem
  macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain root.pem
  Windows          certutil -addstore -f ROOT root.pem        (as administrator)
  Chrome on Linux  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n orla -i root.pem   (Debian: libnss3-tools)
  Firefox          Settings, Privacy & Security, View Certificates, Authorities, Import
  Android, iOS     open the file on the device; it is under the security settings, or profiles
  curl             curl --cacert root.pem
  Node.js          NODE_EXTRA_CA_CERTS=root.pem

On Debian and Ubuntu, orla doctor --trust=install does it for this machine and user.
`, s.Path, s.Name, s.SHA256, s.Until.Local().Format(time.DateOnly))
}

// anchors is where Debian keeps a machine's own roots.
const anchors = "/usr/local/share/ca-certificates"

// installRoot makes this machine, if the caller may do so, and the user's browsers trust a
// root.
func (c *console) installRoot(ctx context.Context, s rootShape, root *x509.Certificate) ([]string, error) {
	update, err := exec.LookPath("update-ca-certificates")
	if err != nil || !isFolder(anchors) {
		return nil, fmt.Errorf("this is no Debian or Ubuntu (there is no update-ca-certificates): nothing was changed; `orla doctor --trust` has the steps for other systems")
	}
	var done []string
	name := filepath.Join(anchors, fmt.Sprintf("orla-%x.crt", root.SubjectKeyId[:min(4, len(root.SubjectKeyId))]))
	err = os.WriteFile(name, []byte(s.PEM), 0o644) //nolint:gosec // a certificate is for everybody
	switch {
	case errors.Is(err, fs.ErrPermission):
	case err != nil:
		return nil, fmt.Errorf("install root: %w", err)
	default:
		if out, err := exec.CommandContext(ctx, update).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("install root: update-ca-certificates: %w: %s", err, strings.TrimSpace(string(out)))
		}
		done = append(done, "this machine ("+name+")")
	}
	if db, err := c.installNSS(ctx, s); err != nil {
		return nil, err
	} else if db != "" {
		done = append(done, "this user's browsers ("+db+")")
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("only root may write %s: nothing was changed; run it again with sudo, and, for Chrome, without sudo with certutil installed (apt-get install libnss3-tools)", anchors)
	}
	return done, nil
}

// installNSS makes the user's NSS database, which Chromium reads, trust a root. It returns
// the database; empty: there is no certutil, or no home.
func (c *console) installNSS(ctx context.Context, s rootShape) (string, error) {
	certutil, err := exec.LookPath("certutil")
	home := c.getenv("HOME")
	if err != nil || home == "" {
		return "", nil //nolint:nilerr // then there is nothing to do
	}
	dir := filepath.Join(home, ".pki", "nssdb")
	db := "sql:" + dir
	if !isFolder(dir) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make NSS database: %w", err)
		}
		if out, err := exec.CommandContext(ctx, certutil, "-d", db, "-N", "--empty-password").CombinedOutput(); err != nil {
			return "", fmt.Errorf("make NSS database %s: %w: %s", dir, err, strings.TrimSpace(string(out)))
		}
	}
	if out, err := exec.CommandContext(ctx, certutil, "-d", db, "-A", "-t", "C,,", "-n", s.Name, "-i", s.Path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("add root to NSS database %s: %w: %s", dir, err, strings.TrimSpace(string(out)))
	}
	return dir, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
