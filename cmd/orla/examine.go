package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/cmd/orla/doctor"
	"github.com/orla-edge/orla/cmd/orla/settings"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/compile"
)

var errNotWell = errors.New("something is not well")

func doctorCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what a node needs, and say what to do where it is not well",
		Long: `Look at the data directory, the node, its token and version, the ports, the
kernel, what functions need, and the node's root certificate. Every line says ok, warn or fail, and
what to do. The exit code is 1 if anything fails.

--admin or ORLA_ADMIN names a node elsewhere; then this machine is not looked at.

--trust prints the root certificate of the node's own CA, and how systems and browsers
are made to trust it; --trust=install does so on Debian and Ubuntu.`,
		Example: "  orla doctor\n  orla doctor --json\n  orla doctor --trust",
		Args:    exact(),
	}
	n := c.nodeFlags(cmd)
	config := cmd.Flags().String("config", "", "`file` that the node is started with: orla-node.toml")
	trust := cmd.Flags().String("trust", "", "print the internal CA's root and how to trust it, or `install` it")
	cmd.Flags().Lookup("trust").NoOptDefVal = trustPrint
	completeValues(cmd, "trust", []string{trustPrint, trustInstall})
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *trust != "" {
			return n.trust(cmd.Context(), *config, *trust, asJSON)
		}
		found, err := n.examine(cmd.Context(), *config)
		if err != nil {
			return err
		}
		if asJSON {
			err = c.json(found)
		} else {
			err = c.findings(found)
		}
		if err == nil && doctor.Worst(found) == doctor.Fail {
			err = printed{errNotWell}
		}
		return err
	}
	return cmd
}

func (n *nodeFlags) examine(ctx context.Context, config string) ([]doctor.Finding, error) {
	src := settings.Source{Env: n.c.env, File: config}
	if n.data != "" {
		src.Flags = map[string]string{"data": n.data}
	}
	s, err := settings.Resolve(src)
	if err != nil {
		return nil, err
	}
	cl, notFound := n.find()
	cfg := doctor.Config{
		Data: s.Data, Local: n.local(cl), HTTP: s.HTTP, HTTPS: s.HTTPS, Admin: s.Admin, Version: buildVersion(),
		FunctionMemory: s.FunctionMemory, FunctionInstances: s.FunctionInstances,
		Compile: func(ctx context.Context) error {
			command, err := compiler()
			if err != nil {
				return err
			}
			return compile.Try(ctx, command)
		},
	}
	if s.TLS == "off" {
		cfg.HTTPS = "off"
	}
	if notFound != nil {
		cfg.Node = func(context.Context) (*orlav1.GetNodeResponse, error) { return nil, notFound }
		return doctor.Examine(ctx, cfg), nil //nolint:nilerr // it is one of the findings
	}
	cfg.URL = cl.Admin()
	cfg.Node = func(ctx context.Context) (*orlav1.GetNodeResponse, error) {
		res, err := cl.Control().GetNode(ctx, connect.NewRequest(&orlav1.GetNodeRequest{}))
		if err != nil {
			return nil, err
		}
		return res.Msg, nil
	}
	cfg.Certificates = func(ctx context.Context, states ...orlav1.Certificate_State) (*orlav1.ListCertificatesResponse, error) {
		res, err := cl.Control().ListCertificates(ctx, connect.NewRequest(&orlav1.ListCertificatesRequest{States: states}))
		if err != nil {
			return nil, err
		}
		return res.Msg, nil
	}
	return doctor.Examine(ctx, cfg), nil
}

func (c *console) findings(found []doctor.Finding) error {
	colours := map[doctor.Status]string{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red}
	for _, f := range found {
		status := c.paint(colours[f.Status], fmt.Sprintf("%-4s", f.Status))
		const indent = "\n                   "
		if err := c.printf("%s  %-11s  %s\n", status, f.Check, strings.ReplaceAll(f.Detail, "\n", indent)); err != nil {
			return err
		}
		if f.Next == "" {
			continue
		}
		if err := c.printf("%-17s  → %s\n", "", f.Next); err != nil {
			return err
		}
	}
	return nil
}
