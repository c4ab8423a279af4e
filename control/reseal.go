package control

import (
	"context"
	"errors"
	"strings"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/seal"
)

// unseal opens a value with the key that all nodes have, or with the one that this node
// had before it was in a cluster.
func (s *Service) unseal(sealed []byte, place string) ([]byte, error) {
	value, err := s.cfg.SecretKey.Open(sealed, place)
	if errors.Is(err, seal.ErrKey) && s.cfg.OldSecretKey != nil {
		return s.cfg.OldSecretKey.Open(sealed, place)
	}
	return value, err
}

// reseal seals with the cluster's key what this node has sealed with its own while it was
// alone, so that the others can open it.
func (s *Service) reseal(ctx context.Context) {
	if s.cfg.OldSecretKey == nil || s.cfg.SecretKey == nil || !s.hub() || s.cfg.Register.Ready() != nil {
		return
	}
	entries, err := s.cfg.Register.List(ctx, secretPrefix)
	if err != nil {
		s.cfg.Logger.Warn("look for secrets of the node's own key", "error", err)
		return
	}
	for _, e := range entries {
		secret, err := decode[orlav1.Secret](e.Value)
		if err != nil {
			continue
		}
		changed, err := s.resealed(secret)
		if err != nil {
			s.cfg.Logger.Error("a secret cannot be opened by the other nodes; set it again", "secret", strings.TrimPrefix(e.Key, secretPrefix), "error", err)
			continue
		}
		if !changed {
			continue
		}
		value, err := encode(secret)
		if err == nil {
			_, err = s.cfg.Register.Commit(ctx, cluster.Change{Key: e.Key, Value: value, Expect: e.Revision})
		}
		if err != nil {
			s.cfg.Logger.Warn("secret not sealed with the cluster's key; will try again", "secret", strings.TrimPrefix(e.Key, secretPrefix), "error", err)
			continue
		}
		s.cfg.Logger.Info("secret sealed with the cluster's key", "secret", strings.TrimPrefix(e.Key, secretPrefix))
	}
}

// resealed seals a secret's versions anew that have the node's own key, and reports
// whether there were any.
func (s *Service) resealed(secret *orlav1.Secret) (changed bool, err error) {
	for _, v := range secret.GetVersions() {
		place := secretPlace(secret.GetApp(), secret.GetName(), v.GetVersion())
		if _, err := s.cfg.SecretKey.Open(v.GetSealed(), place); !errors.Is(err, seal.ErrKey) {
			continue
		}
		value, err := s.cfg.OldSecretKey.Open(v.GetSealed(), place)
		if err != nil {
			return false, err
		}
		if v.Sealed, err = s.cfg.SecretKey.Seal(value, place); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}
