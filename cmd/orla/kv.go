package main

import (
	"context"
	"math"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// maxValue is the size in bytes of a value.
const maxValue = 1 << 20

type valueShape struct {
	Store    string `json:"store"`
	Key      string `json:"key"`
	Revision uint64 `json:"revision,omitempty"`
	// Value is the value if it is text, Bytes if it is not, in base64.
	Value *string `json:"value,omitempty"`
	Bytes []byte  `json:"bytes,omitempty"`
}

type keysShape struct {
	Store string   `json:"store"`
	Keys  []string `json:"keys"`
}

func kvCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:   "kv",
		Short: "Read and write an app's key-value store",
		Long: `Read and write what an app's functions keep in the key-value store. A function uses
the stores that it names in orla.toml: kv = ["sessions"].`,
		Example: "  orla kv put shop user/1 hello\n  orla kv get shop user/1\n  orla kv list shop user/\n  orla kv delete shop user/1",
	}, kvGet(c), kvPut(c), kvList(c), kvDelete(c))
}

// storeFlag gives a command the flag that names the store.
func storeFlag(n *nodeFlags, cmd *cobra.Command) *string {
	cmd.ValidArgsFunction = n.completeNames
	return cmd.Flags().String("store", "", "`name` of the store (default: the app's only one)")
}

// expectFlag gives a command the flag for compare-and-set.
func expectFlag(cmd *cobra.Command) func() *uint64 {
	v := cmd.Flags().Uint64("expect", 0, "`revision` that the key must be at; 0: there must be no such key")
	return func() *uint64 {
		if !cmd.Flags().Changed("expect") {
			return nil
		}
		return v
	}
}

func kvGet(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "get APP KEY", Short: "Print a value", Args: exact("APP", "KEY"),
		Example: "  orla kv get shop user/1\n  orla kv get shop logo --store files > logo.png",
	}
	n := c.nodeFlags(cmd)
	store := storeFlag(n, cmd)
	var value []byte
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (valueShape, error) {
		res, err := api.GetValue(ctx, connect.NewRequest(&orlav1.GetValueRequest{App: args[0], Store: *store, Key: args[1]}))
		if err != nil {
			return valueShape{}, err
		}
		value = res.Msg.GetValue()
		s := valueShape{Store: res.Msg.GetStore(), Key: args[1], Revision: res.Msg.GetRevision()}
		if text := string(value); utf8.ValidString(text) {
			s.Value = &text
		} else {
			s.Bytes = value
		}
		return s, nil
	}, func(valueShape) error {
		if c.isTerminal(c.out) {
			return c.printf("%s\n", plain(string(value)))
		}
		_, err := c.out.Write(value)
		return err
	})
}

func kvPut(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "put APP KEY [VALUE]", Short: "Put a value", Args: between(2, "APP", "KEY", "VALUE"),
		Long:    "Put a value; without VALUE it is what standard input has, byte for byte.",
		Example: "  orla kv put shop user/1 hello --ttl 24h\n  cat logo.png | orla kv put shop logo --store files\n  orla kv put shop lock me --expect 0",
	}
	n := c.nodeFlags(cmd)
	store, expect := storeFlag(n, cmd), expectFlag(cmd)
	ttl := cmd.Flags().Duration("ttl", 0, "`time` after which the key goes by itself, of whole seconds (default: never)")
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (valueShape, error) {
		if *ttl < 0 || *ttl%time.Second != 0 || *ttl/time.Second > math.MaxUint32 {
			return valueShape{}, usagef("--ttl %v: want whole seconds, such as 90s or 24h", *ttl)
		}
		value := []byte(argument(args[2:], ""))
		if len(args) < 3 {
			var err error
			if c.isTerminal(c.in) {
				c.tell("type the value; end it with Ctrl-D\n")
			}
			if value, err = readValue(c.in, maxValue); err != nil {
				return valueShape{}, err
			}
		}
		res, err := api.PutValue(ctx, connect.NewRequest(&orlav1.PutValueRequest{
			App: args[0], Store: *store, Key: args[1], Value: value, TtlSeconds: uint32(*ttl / time.Second), Expect: expect(), //nolint:gosec // bounded above
		}))
		if err != nil {
			return valueShape{}, err
		}
		return valueShape{Store: res.Msg.GetStore(), Key: args[1], Revision: res.Msg.GetRevision()}, nil
	}, func(s valueShape) error {
		return c.printf("%s is in %s, revision %d\n", plain(s.Key), s.Store, s.Revision)
	})
}

func kvDelete(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete APP KEY", Short: "Delete a key, which need not be there", Args: exact("APP", "KEY"),
		Example: "  orla kv delete shop user/1",
	}
	n := c.nodeFlags(cmd)
	store, expect := storeFlag(n, cmd), expectFlag(cmd)
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (valueShape, error) {
		res, err := api.DeleteValue(ctx, connect.NewRequest(&orlav1.DeleteValueRequest{App: args[0], Store: *store, Key: args[1], Expect: expect()}))
		if err != nil {
			return valueShape{}, err
		}
		return valueShape{Store: res.Msg.GetStore(), Key: args[1]}, nil
	}, func(s valueShape) error {
		return c.printf("%s is not in %s any more\n", plain(s.Key), s.Store)
	})
}

func kvList(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list APP [PREFIX]", Short: "List keys, all or those that begin with a prefix", Args: between(1, "APP", "PREFIX"),
		Example: "  orla kv list shop\n  orla kv list shop user/ --store sessions --json",
	}
	n := c.nodeFlags(cmd)
	store := storeFlag(n, cmd)
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (keysShape, error) {
		s, cursor := keysShape{Keys: []string{}}, ""
		for {
			res, err := api.ListValues(ctx, connect.NewRequest(&orlav1.ListValuesRequest{
				App: args[0], Store: *store, Prefix: argument(args[1:], ""), Cursor: cursor,
			}))
			if err != nil {
				return keysShape{}, err
			}
			s.Store, s.Keys = res.Msg.GetStore(), append(s.Keys, res.Msg.GetKeys()...)
			if cursor = res.Msg.GetCursor(); cursor == "" {
				return s, nil
			}
		}
	}, func(s keysShape) error {
		for _, key := range s.Keys {
			if err := c.printf("%s\n", plain(key)); err != nil {
				return err
			}
		}
		if len(s.Keys) == 0 {
			c.tell("no such keys in %s\n", s.Store)
		}
		return nil
	})
}
