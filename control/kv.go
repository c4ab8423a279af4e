package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/runtime/host"
)

// appKV returns the key-value store of one app as its functions see it; nil if the node
// has none.
func (s *Service) appKV(app string) host.KV {
	if s.cfg.KV == nil {
		return nil
	}
	return appKV{s.cfg.KV, app}
}

// appKV is the key-value store of one app.
type appKV struct {
	kv  *cluster.KV
	app string
}

var _ host.KV = appKV{}

// Get implements host.KV.
func (a appKV) Get(ctx context.Context, store, key string) ([]byte, uint64, error) {
	value, revision, err := a.kv.Get(ctx, a.app, store, key)
	return value, revision, hostError(err)
}

// Put implements host.KV.
func (a appKV) Put(ctx context.Context, store, key string, value []byte, how host.KVPut) (uint64, error) {
	revision, err := a.kv.Put(ctx, a.app, store, key, value, cluster.KVPut(how))
	return revision, hostError(err)
}

// Delete implements host.KV.
func (a appKV) Delete(ctx context.Context, store, key string, expect *uint64) error {
	return hostError(a.kv.Delete(ctx, a.app, store, key, expect))
}

// List implements host.KV.
func (a appKV) List(ctx context.Context, store, prefix, cursor string, limit int) ([]string, string, error) {
	keys, next, err := a.kv.List(ctx, a.app, store, prefix, cursor, limit)
	return keys, next, hostError(err)
}

// hostError says in the words of package host what is wrong.
func hostError(err error) error {
	for _, e := range []struct{ from, to error }{
		{cluster.ErrNotFound, host.ErrKVNotFound},
		{cluster.ErrConflict, host.ErrKVConflict},
		{cluster.ErrKVInvalid, host.ErrKVInvalid},
		{cluster.ErrKVTooLarge, host.ErrKVTooLarge},
		{cluster.ErrKVQuota, host.ErrKVQuota},
		{cluster.ErrUnavailable, host.ErrKVUnavailable},
	} {
		if errors.Is(err, e.from) {
			return fmt.Errorf("%w: %w", e.to, err)
		}
	}
	return err
}

// store checks that the caller may use an app's store, and returns its name: the one
// that is asked for, or the only one that the live release is granted.
func (s *Service) store(ctx context.Context, app, name string) (string, error) {
	if err := mustChange(ctx, app); err != nil {
		return "", err
	}
	if s.cfg.KV == nil {
		return "", connect.NewError(connect.CodeFailedPrecondition, errors.New("this node has no key-value store"))
	}
	if head, _ := s.catalog.head(app); head == nil {
		return "", s.noSuch(app, orlav1.Kind_KIND_APP)
	}
	if name != "" {
		if err := release.CheckStore(name); err != nil {
			return "", connect.NewError(connect.CodeInvalidArgument, err)
		}
		return name, nil
	}
	var granted []string
	if live := s.cfg.Dispatcher.Get(app); live != nil {
		for _, f := range live.Manifest.GetFunctions() {
			granted = append(granted, f.GetKv()...)
		}
	}
	slices.Sort(granted)
	switch granted = slices.Compact(granted); len(granted) {
	case 1:
		return granted[0], nil
	case 0:
		return "", connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("the live release of %q is granted no store; name one with --store", app))
	}
	return "", connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%q has the stores %s; choose one with --store", app, strings.Join(granted, ", ")))
}

// valueError is the error of a call about a key.
func valueError(app, store, key string, err error) error {
	var code connect.Code
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("store %q of %q has no key %q; `orla kv list %s --store %s` shows what there is", store, app, key, app, store))
	case errors.Is(err, cluster.ErrConflict):
		code = connect.CodeAborted
	case errors.Is(err, cluster.ErrKVInvalid), errors.Is(err, cluster.ErrKVTooLarge):
		code = connect.CodeInvalidArgument
	case errors.Is(err, cluster.ErrKVQuota):
		code = connect.CodeResourceExhausted
	default:
		return callError(err)
	}
	return connect.NewError(code, err)
}

// GetValue implements the API.
func (s *Service) GetValue(ctx context.Context, req *connect.Request[orlav1.GetValueRequest]) (*connect.Response[orlav1.GetValueResponse], error) {
	m := req.Msg
	store, err := s.store(ctx, m.GetApp(), m.GetStore())
	if err != nil {
		return nil, err
	}
	value, revision, err := s.cfg.KV.Get(ctx, m.GetApp(), store, m.GetKey())
	if err != nil {
		return nil, valueError(m.GetApp(), store, m.GetKey(), err)
	}
	return connect.NewResponse(&orlav1.GetValueResponse{Value: value, Revision: revision, Store: store}), nil
}

// PutValue implements the API.
func (s *Service) PutValue(ctx context.Context, req *connect.Request[orlav1.PutValueRequest]) (*connect.Response[orlav1.PutValueResponse], error) {
	m := req.Msg
	store, err := s.store(ctx, m.GetApp(), m.GetStore())
	if err != nil {
		return nil, err
	}
	how := cluster.KVPut{TTL: time.Duration(m.GetTtlSeconds()) * time.Second, Expect: m.Expect}
	revision, err := s.cfg.KV.Put(ctx, m.GetApp(), store, m.GetKey(), m.GetValue(), how)
	if err != nil {
		return nil, valueError(m.GetApp(), store, m.GetKey(), err)
	}
	s.cfg.Logger.Info("value put", "app", m.GetApp(), "store", store, "revision", revision, "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.PutValueResponse{Revision: revision, Store: store}), nil
}

// DeleteValue implements the API.
func (s *Service) DeleteValue(ctx context.Context, req *connect.Request[orlav1.DeleteValueRequest]) (*connect.Response[orlav1.DeleteValueResponse], error) {
	m := req.Msg
	store, err := s.store(ctx, m.GetApp(), m.GetStore())
	if err != nil {
		return nil, err
	}
	if err := s.cfg.KV.Delete(ctx, m.GetApp(), store, m.GetKey(), m.Expect); err != nil {
		return nil, valueError(m.GetApp(), store, m.GetKey(), err)
	}
	s.cfg.Logger.Info("value deleted", "app", m.GetApp(), "store", store, "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.DeleteValueResponse{Store: store}), nil
}

// ListValues implements the API.
func (s *Service) ListValues(ctx context.Context, req *connect.Request[orlav1.ListValuesRequest]) (*connect.Response[orlav1.ListValuesResponse], error) {
	m := req.Msg
	store, err := s.store(ctx, m.GetApp(), m.GetStore())
	if err != nil {
		return nil, err
	}
	limit := int(min(m.GetLimit(), cluster.MaxKVList))
	if limit == 0 {
		limit = cluster.MaxKVList
	}
	keys, next, err := s.cfg.KV.List(ctx, m.GetApp(), store, m.GetPrefix(), m.GetCursor(), limit)
	if err != nil {
		return nil, valueError(m.GetApp(), store, "", err)
	}
	return connect.NewResponse(&orlav1.ListValuesResponse{Keys: keys, Cursor: next, Store: store}), nil
}
