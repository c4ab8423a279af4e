package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// maxSecret is the size in bytes of a secret's value.
const maxSecret = 64 << 10

type appSecretShape struct {
	Name     string               `json:"name"`
	Versions []secretVersionShape `json:"versions"` // oldest first
}

type secretVersionShape struct {
	Version uint64    `json:"version"`
	Created time.Time `json:"created"`
	Who     string    `json:"who"`
}

type secretSetShape struct {
	App     string `json:"app"`
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Release uint64 `json:"release"` // that has it; 0 if none was made
}

type secretRemovedShape struct {
	App  string `json:"app"`
	Name string `json:"name"`
}

func secretsCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:   "secrets",
		Short: "Set, list and remove an app's secrets",
		Long: `A secret is a value that a function is given as an environment variable, and that is
in no release, no log and no answer of the API: it is stored encrypted. A function
asks for it in orla.toml: secrets = ["STRIPE_KEY"].`,
		Example: "  cat key.txt | orla secrets set shop STRIPE_KEY\n  orla secrets list shop\n  orla secrets remove shop STRIPE_KEY",
	}, secretsSet(c), secretsList(c), secretsRemove(c))
}

func secretsSet(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set APP NAME", Short: "Set a secret; the value is read from standard input", Args: exact("APP", "NAME"),
		Long: `Set a secret to what standard input has, without one line end at its end. On a
terminal the value is asked for, and not shown.

If a function of the live release asks for the secret, a new release that has it goes
live at once, and "orla rollback" takes it back.`,
		Example: "  cat key.txt | orla secrets set shop STRIPE_KEY\n  pass show stripe | orla secrets set shop STRIPE_KEY --no-deploy",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	roll := addRollout(cmd)
	var live *orlav1.Live
	later := cmd.Flags().Bool("no-deploy", false, "store it only; the next deploy takes it")
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (secretSetShape, error) {
		value, err := c.secretValue(args[1])
		if err != nil {
			return secretSetShape{}, err
		}
		res, err := api.SetSecret(ctx, connect.NewRequest(&orlav1.SetSecretRequest{App: args[0], Name: args[1], Value: value, NoDeploy: *later, Rollout: roll.message()}))
		if err != nil {
			return secretSetShape{}, err
		}
		live = res.Msg.GetLive()
		return secretSetShape{args[0], args[1], res.Msg.GetVersion(), live.GetRelease()}, nil
	}, func(s secretSetShape) error {
		switch {
		case s.Release > 0:
			if err := c.printf("%s of %s is set, version %d; release %d with it is live\n", s.Name, s.App, s.Version, s.Release); err != nil {
				return err
			}
			return c.proven(live, false)
		case *later:
			return c.printf("%s of %s is set, version %d; the next deploy takes it\n", s.Name, s.App, s.Version)
		}
		return c.printf("%s of %s is set, version %d; no live function asks for it: add secrets = [\"%s\"] in orla.toml and deploy\n", s.Name, s.App, s.Version, s.Name)
	})
}

// secretValue reads a value: from a person who types it unseen, or from a pipe or file.
func (c *console) secretValue(name string) ([]byte, error) {
	if f, ok := c.in.(*os.File); ok && c.isTerminal(f) {
		c.tell("value of %s (not shown): ", name)
		value, err := term.ReadPassword(int(f.Fd()))
		c.tell("\n")
		return value, err
	}
	value, err := readValue(c.in, maxSecret+2)
	if err != nil {
		return nil, err
	}
	value = bytes.TrimSuffix(value, []byte("\n"))
	return bytes.TrimSuffix(value, []byte("\r")), nil
}

// readValue reads standard input to its end.
func readValue(r io.Reader, most int64) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	}
	if int64(len(value)) > most {
		return nil, fmt.Errorf("standard input has more than %d bytes, which no value may have", most)
	}
	return value, nil
}

func secretsList(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list APP", Short: "List an app's secrets, never their values", Args: exact("APP"),
		Example: "  orla secrets list shop",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) ([]appSecretShape, error) {
		res, err := api.ListSecrets(ctx, connect.NewRequest(&orlav1.ListSecretsRequest{App: args[0]}))
		if err != nil {
			return nil, err
		}
		return shapes(res.Msg.GetSecrets(), secretOf), nil
	}, func(all []appSecretShape) error {
		var rows [][]string
		for _, s := range all {
			last := s.Versions[len(s.Versions)-1]
			rows = append(rows, []string{s.Name, strconv.FormatUint(last.Version, 10), when(last.Created), last.Who, strconv.Itoa(len(s.Versions))})
		}
		return c.table("no secrets; try: orla secrets set APP NAME", []string{"NAME", "VERSION", "SET", "BY", "KEPT"}, rows)
	})
}

func secretOf(s *orlav1.Secret) appSecretShape {
	return appSecretShape{Name: s.GetName(), Versions: shapes(s.GetVersions(), func(v *orlav1.SecretVersion) secretVersionShape {
		return secretVersionShape{v.GetVersion(), v.GetCreated().AsTime(), v.GetWho()}
	})}
}

func secretsRemove(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove APP NAME", Short: "Take a secret away, with all its versions", Args: exact("APP", "NAME"),
		Long: `Take a secret away, with all its versions. The live release must not ask for it, and
there is no rollback to releases that do.`,
		Example: "  orla secrets remove shop STRIPE_KEY",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (secretRemovedShape, error) {
		_, err := api.RemoveSecret(ctx, connect.NewRequest(&orlav1.RemoveSecretRequest{App: args[0], Name: args[1]}))
		return secretRemovedShape{args[0], args[1]}, err
	}, func(s secretRemovedShape) error {
		return c.printf("%s of %s is removed\n", s.Name, s.App)
	})
}
