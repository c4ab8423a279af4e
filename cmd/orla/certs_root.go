package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// rotatedShape is the internal CA's root, and the one in its place, as --json prints them.
type rotatedShape struct {
	Former caShape  `json:"former"`
	Root   *caShape `json:"root,omitempty"`
}

// caShape is a root.
type caShape struct {
	Name   string    `json:"name"`
	SHA256 string    `json:"sha256"`
	Until  time.Time `json:"until"`
	PEM    string    `json:"pem"`
}

func caOf(r *orlav1.RootCertificate) caShape {
	return caShape{plain(r.GetName()), plain(r.GetFingerprint()), moment(r.GetNotAfter()), r.GetPem()}
}

func certsRotateRoot(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate-root", Short: "Replace the root of the internal CA, on every node", Args: exact(),
		Long: `Say which root the internal CA has. With --yes replace it, as is needed if somebody may
have read its key, or long before it ends: every node adopts the new root and issues its
certificates anew at once. Clients refuse them until they trust the new root, and go on
trusting whoever has the old one's key until that is removed from them.

Certificates that were ordered or imported stay as they are.`,
		Example: "  orla certs rotate-root\n  orla certs rotate-root --yes",
	}
	yes := cmd.Flags().Bool("yes", false, "do it")
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) (rotatedShape, error) {
		res, err := api.RotateRoot(ctx, connect.NewRequest(&orlav1.RotateRootRequest{DryRun: !*yes}))
		if err != nil {
			return rotatedShape{}, err
		}
		s := rotatedShape{Former: caOf(res.Msg.GetFormer())}
		if res.Msg.GetRoot() != nil {
			root := caOf(res.Msg.GetRoot())
			s.Root = &root
		}
		return s, nil
	}, func(s rotatedShape) error { return c.printf("%s", s.text()) })
}

// text says what has come of it, and what is to be done.
func (s rotatedShape) text() string {
	was := s.Former.lines()
	if s.Root == nil {
		return was + `
With --yes a new root takes its place on every node. Clients that trust this one refuse
the nodes' certificates from then on, until they trust the new one.
`
	}
	id := s.Former.Name[strings.LastIndexByte(s.Former.Name, ' ')+1:]
	return s.Root.lines() + fmt.Sprintf(`
All nodes issue their certificates anew. Have clients trust this root:

  orla doctor --trust                   # on a node: its file, and the steps for each system
  sudo orla doctor --trust=install      # on a node: Debian, Ubuntu

The one that was, SHA-256 %[3]s,
is trusted until it is removed where it was installed, and so is whoever has its key:

  Debian, Ubuntu   sudo rm -f /usr/local/share/ca-certificates/orla-%[2]s.crt && sudo update-ca-certificates --fresh
  Chrome on Linux  certutil -d sql:$HOME/.pki/nssdb -D -n %[1]q
  Others           remove %[1]q where it was added
`, s.Former.Name, id, s.Former.SHA256)
}

func (r caShape) lines() string {
	return fmt.Sprintf("%s\n  SHA-256  %s\n  until    %s\n", r.Name, r.SHA256, r.Until.Local().Format(time.DateOnly))
}
