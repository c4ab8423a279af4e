package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// maxCertFile is the most bytes of a certificate's or key's file.
const maxCertFile = 256 << 10

// certImportShape is what was imported.
type certImportShape struct {
	Certificate certShape `json:"certificate"`
	Warnings    []string  `json:"warnings"`
}

// certRemoveShape is what was removed, and what the host has now.
type certRemoveShape struct {
	Removed certShape `json:"removed"`
	Left    certShape `json:"left"`
}

func certsImport(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import HOST", Short: "Store a certificate of your own, for every node", Args: exact("HOST"),
		Long: `Store a certificate that you have from elsewhere, with its chain and key in PEM. HOST is
a host, or a wildcard in quotes. Every node serves it within moments, in place of what the
host has; nothing is ordered for the host as long as it is there. "-" for one of the files
means standard input. The key is stored encrypted, and never shown again.`,
		Example: "  orla certs import shop.example --cert fullchain.pem --key key.pem\n  pass show shop-key | orla certs import '*.shop.example' --cert fullchain.pem --key -",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeHosts
	chain := cmd.Flags().String("cert", "", "`file` with the certificate and its chain, in PEM")
	key := cmd.Flags().String("key", "", "`file` with its private key, in PEM, not encrypted")
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (certImportShape, error) {
		switch {
		case *chain == "" || *key == "":
			return certImportShape{}, usagef("orla certs import needs --cert FILE and --key FILE")
		case *chain == "-" && *key == "-":
			return certImportShape{}, usagef("only one of --cert and --key can be standard input")
		}
		req := &orlav1.ImportCertificateRequest{Host: args[0]}
		var err error
		if req.Chain, err = c.certFile(*chain); err != nil {
			return certImportShape{}, err
		}
		if req.PrivateKey, err = c.certFile(*key); err != nil {
			return certImportShape{}, err
		}
		res, err := api.ImportCertificate(ctx, connect.NewRequest(req))
		if err != nil {
			return certImportShape{}, err
		}
		return certImportShape{certOf(res.Msg.GetCertificate()), orEmpty(res.Msg.GetWarnings())}, nil
	}, func(s certImportShape) error {
		for _, w := range s.Warnings {
			c.tell("warning: %s\n", plain(w))
		}
		return c.printf("%s has an imported certificate of %s until %s\n  SHA-256 %s\n", s.Certificate.Host, plain(s.Certificate.Issuer), when(s.Certificate.NotAfter), s.Certificate.Fingerprint)
	})
}

// certFile reads a file, or standard input.
func (c *console) certFile(name string) ([]byte, error) {
	if name == "-" {
		return readValue(c.in, maxCertFile)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxCertFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxCertFile {
		return nil, fmt.Errorf("read %s: it has more than %d KiB, and is no certificate or key", name, maxCertFile>>10)
	}
	return text, nil
}

func certsRenew(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "renew HOST", Short: "Order a new certificate for a host now", Args: exact("HOST"),
		Long: `Order a new certificate for a host from the ACME server now, whatever it has, and wait
for it. CAs limit how many there may be in a week.`,
		Example: "  orla certs renew shop.example",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeHosts
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (certShape, error) {
		res, err := api.RenewCertificate(ctx, connect.NewRequest(&orlav1.RenewCertificateRequest{Host: args[0]}))
		if err != nil {
			return certShape{}, err
		}
		return certOf(res.Msg.GetCertificate()), nil
	}, func(s certShape) error {
		return c.printf("%s has a new certificate of %s until %s\n  SHA-256 %s\n", s.Host, plain(s.Issuer), when(s.NotAfter), s.Fingerprint)
	})
}

func certsRemove(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove HOST", Short: "Take away an imported or ordered certificate", Args: exact("HOST"),
		Long: `Take away the certificate of a host that was imported or ordered, on every node. If the
host is served, and the nodes run with --tls acme, one is ordered again.`,
		Example: "  orla certs remove shop.example",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeHosts
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (certRemoveShape, error) {
		res, err := api.RemoveCertificate(ctx, connect.NewRequest(&orlav1.RemoveCertificateRequest{Host: args[0]}))
		if err != nil {
			return certRemoveShape{}, err
		}
		return certRemoveShape{certOf(res.Msg.GetCertificate()), certOf(res.Msg.GetLeft())}, nil
	}, func(s certRemoveShape) error {
		if err := c.printf("the %s certificate of %s is removed\n", s.Removed.Source, s.Removed.Host); err != nil {
			return err
		}
		switch {
		case s.Left.State == "pending":
			return c.printf("  the host is served: one is ordered again\n")
		case s.Left.CoveredBy != "":
			return c.printf("  it has that of %s now\n", s.Left.CoveredBy)
		case s.Left.Reason != "":
			return c.printf("  %s\n", plain(s.Left.Reason))
		}
		return nil
	})
}
