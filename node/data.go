package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/control"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/seal"
)

// Files in the data directory by which commands on the same machine find the
// node.
const (
	adminTokenFile = "admin.token"
	adminAddrFile  = "admin.addr"
)

// secretsKeyFile holds the key that secrets are sealed with, of a node without a
// cluster's secret.
const secretsKeyFile = "secrets.key"

// nodeName returns name, or the machine's own.
func nodeName(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find out this machine's name (pass --node to choose one): %w", err)
	}
	return host, nil
}

// makeData creates the data directory, for nobody else to read.
func makeData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create data directory %s (pass --data to choose another): %w", dir, err)
	}
	return nil
}

// adminToken returns the node's admin token; the first start makes it.
func adminToken(dir string) (string, error) {
	path := filepath.Join(dir, adminTokenFile)
	b, err := os.ReadFile(path)
	if err == nil {
		secret := strings.TrimSpace(string(b))
		if secret == "" {
			return "", fmt.Errorf("%s is empty; remove it, and the next start makes a new token", path)
		}
		return secret, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read admin token: %w", err)
	}
	secret := control.NewSecret()
	if err := writeFile(path, secret+"\n", 0o600); err != nil {
		return "", fmt.Errorf("write admin token: %w", err)
	}
	return secret, nil
}

// secretsKey returns the key that secrets are sealed with: one made of the cluster's
// secret, or, of a node that has none, that of its data directory, which the first start
// makes. It is not kept with the register: whoever has a copy of that cannot read them.
//
// A node of a cluster that was alone before still has that one too; else old is nil.
func secretsKey(dir string, t cluster.Topology) (key, old *seal.Key, err error) {
	if t.Secret.IsZero() && t.NATS != nil {
		return nil, nil, nil // other nodes may use the register too, and have nothing to open it with
	}
	if t.Secret.IsZero() {
		key, err = ownSecretsKey(dir, true)
		return key, nil, err
	}
	if key, err = seal.New(t.Secret.Seed(identity.Edge, "secrets")); err != nil { // every node opens them
		return nil, nil, err
	}
	old, err = ownSecretsKey(dir, false)
	return key, old, err
}

// ownSecretsKey reads the key in the data directory. If there is none it is made, or nil.
func ownSecretsKey(dir string, create bool) (*seal.Key, error) {
	path := filepath.Join(dir, secretsKeyFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !create {
		return nil, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		master := make([]byte, seal.KeySize)
		if _, err := rand.Read(master); err != nil {
			return nil, fmt.Errorf("make the key for secrets: %w", err)
		}
		if err := writeFile(path, hex.EncodeToString(master)+"\n", 0o600); err != nil {
			return nil, fmt.Errorf("write the key for secrets: %w", err)
		}
		return seal.New(master)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key for secrets: %w", err)
	}
	master, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(master) != seal.KeySize {
		return nil, fmt.Errorf("%s is not a key of %d bytes in hexadecimal digits; put a copy of it back, or remove it and set every secret again", path, seal.KeySize)
	}
	return seal.New(master)
}

// writeAdminAddr notes where the API is served.
func writeAdminAddr(dir, url string) error {
	if err := writeFile(filepath.Join(dir, adminAddrFile), url+"\n", 0o644); err != nil {
		return fmt.Errorf("write admin address: %w", err)
	}
	return nil
}

// writeFile replaces a file whole: a reader sees the old one or the new one.
func writeFile(path, content string, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
