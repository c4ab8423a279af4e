package control

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// principal is who a call comes from.
type principal struct {
	name string
	id   string // of the token; localID for the node's own
	role orlav1.Role
	apps []string // what a deployer may change
}

// mayChange reports whether the caller may change the app or route set.
func (id principal) mayChange(name string) bool {
	return id.role == orlav1.Role_ROLE_ADMIN ||
		id.role == orlav1.Role_ROLE_DEPLOYER && slices.Contains(id.apps, name)
}

// required is the least role of each procedure. A procedure that is not listed
// is for admins.
func required(procedure string) orlav1.Role {
	switch procedure {
	case orlav1connect.ControlServiceGetNodeProcedure,
		orlav1connect.ControlServiceListAppsProcedure,
		orlav1connect.ControlServiceGetAppProcedure,
		orlav1connect.ControlServiceListRoutesProcedure,
		orlav1connect.ControlServiceExplainRouteProcedure,
		orlav1connect.ControlServiceTailLogsProcedure,
		orlav1connect.ControlServiceListNodesProcedure,
		orlav1connect.ControlServiceListCertificatesProcedure,
		orlav1connect.ControlServiceShowCertificateProcedure:
		return orlav1.Role_ROLE_VIEWER
	case orlav1connect.ControlServiceFindMissingBlobsProcedure,
		orlav1connect.ControlServiceUploadBlobsProcedure,
		orlav1connect.ControlServiceDeployProcedure,
		orlav1connect.ControlServiceRollbackProcedure,
		orlav1connect.ControlServiceRemoveAppProcedure,
		orlav1connect.ControlServiceSetSplitProcedure,
		orlav1connect.ControlServiceSetSecretProcedure,
		orlav1connect.ControlServiceListSecretsProcedure,
		orlav1connect.ControlServiceRemoveSecretProcedure,
		orlav1connect.ControlServiceGetValueProcedure,
		orlav1connect.ControlServicePutValueProcedure,
		orlav1connect.ControlServiceDeleteValueProcedure,
		orlav1connect.ControlServiceListValuesProcedure:
		return orlav1.Role_ROLE_DEPLOYER
	default:
		return orlav1.Role_ROLE_ADMIN
	}
}

// Changes reports whether a procedure needs a hub: it changes something, or tells what
// only hubs know.
func Changes(procedure string) bool {
	switch procedure {
	case orlav1connect.ControlServiceListNodesProcedure, orlav1connect.ControlServiceTailLogsProcedure:
		return true
	default:
		return required(procedure) > orlav1.Role_ROLE_VIEWER
	}
}

// Alone reports whether a node can answer a call of a procedure by itself too, if less
// well, when there is no hub that could.
func Alone(procedure string) bool { return procedure == orlav1connect.ControlServiceTailLogsProcedure }

type identityKey struct{}

// caller returns who the call comes from; the authoriser has put it there.
func caller(ctx context.Context) principal {
	id, _ := ctx.Value(identityKey{}).(principal)
	return id
}

// authoriser lets a call through if its bearer token has the procedure's role.
type authoriser struct{ catalog *catalog }

var _ connect.Interceptor = authoriser{}

// identify returns who shows the token in the header.
func (a authoriser) identify(h http.Header) (principal, error) {
	secret, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if !ok || secret == "" {
		return principal{}, connect.NewError(connect.CodeUnauthenticated, errNoToken)
	}
	id, ok := a.catalog.identity(secret)
	switch {
	case !ok && !a.catalog.knows():
		return principal{}, connect.NewError(connect.CodeUnavailable, errStarting)
	case !ok:
		return principal{}, connect.NewError(connect.CodeUnauthenticated, errBadToken)
	}
	return id, nil
}

func (a authoriser) authorise(ctx context.Context, procedure string, h http.Header) (context.Context, error) {
	id, err := a.identify(h)
	if err != nil {
		return nil, err
	}
	if need := required(procedure); id.role < need {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf(
			"token %q has the role %s; this needs %s: ask an admin for another token (orla token create)", id.name, roleName(id.role), roleName(need)))
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

// WrapUnary implements connect.Interceptor.
func (a authoriser) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, err := a.authorise(ctx, r.Spec().Procedure, r.Header())
		if err != nil {
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no use for it.
func (a authoriser) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (a authoriser) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, err := a.authorise(ctx, conn.Spec().Procedure, conn.RequestHeader())
		if err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

// mustChange returns the error for a caller that may not change name.
func mustChange(ctx context.Context, name string) error {
	id := caller(ctx)
	if id.mayChange(name) {
		return nil
	}
	return connect.NewError(connect.CodePermissionDenied, fmt.Errorf(
		"token %q may not change %q; it may change %s: ask an admin for a token with --app %s", id.name, name, orNothing(id.apps), name))
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

func roleName(r orlav1.Role) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

// hashSecret is what is kept of a token. A fast hash is enough: the secret is 32
// random bytes, not a word that could be guessed.
func hashSecret(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }
