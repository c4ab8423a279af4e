package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orla-edge/orla/cmd/orla/settings"
	"github.com/orla-edge/orla/node"
)

func serveCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until it is told to stop (Ctrl-C or SIGTERM), then finish the
requests that run.

Each flag can also be given as a variable (--log-format is ORLA_LOG_FORMAT) or in
the file that --config names (log_format = "json"). A flag goes before a
variable, a variable before the file. PORT sets the port of --http. An
ORLA_ADMIN with a scheme names a node for the other commands, and is not meant
for serve. OTEL_* variables send traces, metrics and logs to a collector, as
OpenTelemetry defines them.

SIGUSR2, or 'orla upgrade', has the node replaced by a new process without losing
a request. Sockets that systemd passes are used: FileDescriptorName=http, https
or admin.`,
		Example: `  orla serve
  orla serve --http :80 --https :443 --data /var/lib/orla
  orla serve --config orla-node.toml --log-format json

  # three hubs that keep the register together, and an edge
  orla serve --cluster edge --cluster-listen :6222 --join 10.0.0.1:6222 --cluster-secret-file F
  orla serve --cluster edge --join 10.0.0.1:6222 --cluster-secret-file F`,
		Args: exact(),
	}
	config := cmd.Flags().String("config", "", "`file` with settings: orla-node.toml")
	for _, s := range settings.Table() {
		cmd.Flags().String(s.Flag, s.Default, s.Usage)
		if len(s.Values) > 0 {
			completeValues(cmd, s.Flag, s.Values)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		up, err := upgradeable(c)
		if err != nil {
			return err
		}
		s, err := settings.Resolve(settings.Source{Flags: given(cmd.Flags()), Env: c.env, File: *config})
		if err != nil {
			if p := up.Inherited.Predecessor(); p != nil {
				p.Failed(err)
			}
			if errors.As(err, new(*settings.ValueError)) {
				return usageError{err}
			}
			return err
		}
		return c.serve(cmd.Context(), s, up)
	}
	return cmd
}

// given returns the flags that are on the command line.
func given(flags *pflag.FlagSet) map[string]string {
	m := make(map[string]string)
	flags.Visit(func(f *pflag.Flag) { m[f.Name] = f.Value.String() })
	return m
}

func (c *console) serve(ctx context.Context, s settings.Serve, up node.Upgrade) error {
	command, err := compiler()
	if err != nil {
		return err
	}
	return node.Run(ctx, node.Config{
		HTTP: s.HTTP, HTTPS: s.HTTPS, Admin: s.Admin, Data: s.Data, Name: s.Node, TLS: s.TLS,
		LogFormat: s.LogFormat, LogLevel: s.LogLevel, Output: c.err, Version: buildVersion(), CompileCommand: command,
		FunctionMemory: s.FunctionMemory, FunctionInstances: s.FunctionInstances,
		Upgrade: up, Cluster: clusterConfig(s.Cluster), ReadyWhen: s.ReadyWhen, ACME: acmeConfig(s.ACME),
	})
}

func acmeConfig(a settings.ACME) node.ACME {
	out := node.ACME{
		Email: a.Email, RootFile: a.CARoot, DNS: a.DNS, DNSFile: a.DNSFile, DNSResolvers: a.DNSResolvers,
		Directories: []node.Directory{{URL: a.Directory, EABKeyID: a.EABKeyID, EABKeyFile: a.EABKeyFile}},
	}
	if a.Fallback != "" {
		out.Directories = append(out.Directories, node.Directory{URL: a.Fallback, EABKeyID: a.FallbackKeyID, EABKeyFile: a.FallbackKeyFile})
	}
	return out
}

func clusterConfig(c settings.Cluster) node.Cluster {
	out := node.Cluster{
		Name: c.Name, Listen: c.Listen, Advertise: c.Advertise, Join: c.Join, SecretFile: c.SecretFile,
		Peer: c.Peer, PeerAdvertise: c.PeerAdvertise, BlobStore: c.BlobStore,
	}
	if c.NATS != "" {
		out.NATS = &node.NATS{
			URL: c.NATS, Creds: c.NATSCreds, Nkey: c.NATSNkey, CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey,
			Domain: c.NATSDomain, Replicas: c.NATSReplicas,
		}
	}
	return out
}
