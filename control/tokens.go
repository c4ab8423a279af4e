package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// NewSecret returns a fresh token: 130 random bits, recognisable by its prefix.
func NewSecret() string { return "orla_" + rand.Text() }

// CreateToken implements the API.
func (s *Service) CreateToken(ctx context.Context, req *connect.Request[orlav1.CreateTokenRequest]) (*connect.Response[orlav1.CreateTokenResponse], error) {
	if err := checkToken(req.Msg); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	secret := NewSecret()
	hash := hashSecret(secret)
	token := &orlav1.Token{
		Id: strings.ToLower(rand.Text()[:10]), Name: req.Msg.GetName(), Hash: hash[:],
		Role: req.Msg.GetRole(), Apps: req.Msg.GetApps(), Created: timestamppb.Now(),
	}
	value, err := encode(token)
	if err != nil {
		return nil, callError(err)
	}
	if err := s.commitToken(ctx, cluster.Change{Key: tokenKey(token.GetId()), Value: value}); err != nil {
		return nil, err
	}
	s.cfg.Logger.Info("token created", "token", token.GetName(), "id", token.GetId(), "role", roleName(token.GetRole()), "who", caller(ctx).name)
	token.Hash = nil
	return connect.NewResponse(&orlav1.CreateTokenResponse{Secret: secret, Token: token}), nil
}

func checkToken(r *orlav1.CreateTokenRequest) error {
	switch {
	case r.GetName() == "" || len(r.GetName()) > 100:
		return errors.New("a token needs a name of 1 to 100 bytes, so that the history can say who did what")
	case r.GetRole() < orlav1.Role_ROLE_VIEWER || r.GetRole() > orlav1.Role_ROLE_ADMIN:
		return errors.New("the role must be viewer, deployer or admin")
	case r.GetRole() == orlav1.Role_ROLE_DEPLOYER && len(r.GetApps()) == 0:
		return errors.New("a deployer's token names the apps that it may change: pass --app for each")
	case r.GetRole() != orlav1.Role_ROLE_DEPLOYER && len(r.GetApps()) > 0:
		return fmt.Errorf("only a deployer's token names apps; one with the role %s reaches all", roleName(r.GetRole()))
	case len(r.GetApps()) > 100:
		return errors.New("a token can name at most 100 apps")
	}
	return nil
}

// ListTokens implements the API.
func (s *Service) ListTokens(context.Context, *connect.Request[orlav1.ListTokensRequest]) (*connect.Response[orlav1.ListTokensResponse], error) {
	res := &orlav1.ListTokensResponse{}
	for _, t := range s.catalog.listTokens() {
		res.Tokens = append(res.Tokens, &orlav1.Token{Id: t.GetId(), Name: t.GetName(), Role: t.GetRole(), Apps: t.GetApps(), Created: t.GetCreated()})
	}
	return connect.NewResponse(res), nil
}

// RevokeToken implements the API.
func (s *Service) RevokeToken(ctx context.Context, req *connect.Request[orlav1.RevokeTokenRequest]) (*connect.Response[orlav1.RevokeTokenResponse], error) {
	id := req.Msg.GetId()
	e, err := s.get(ctx, tokenKey(id))
	if errors.Is(err, cluster.ErrNotFound) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no token %q; `orla token list` shows their ids", id))
	}
	if err != nil {
		return nil, callError(err)
	}
	if err := s.commitToken(ctx, cluster.Change{Key: tokenKey(id), Expect: e.Revision}); err != nil {
		return nil, err
	}
	s.cfg.Logger.Info("token revoked", "id", id, "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.RevokeTokenResponse{}), nil
}

// commitToken stores a token's change and waits until this node obeys it.
func (s *Service) commitToken(ctx context.Context, c cluster.Change) error {
	revision, err := s.change(ctx, c)
	if errors.Is(err, cluster.ErrConflict) {
		return connect.NewError(connect.CodeAborted, fmt.Errorf("the token was changed meanwhile; see `orla token list` and try again: %w", err))
	}
	if err == nil {
		err = s.cfg.Register.Wait(ctx, revision)
	}
	return callError(err)
}
