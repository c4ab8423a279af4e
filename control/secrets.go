package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/seal"
)

const (
	secretPrefix = "secret."
	// maxSecrets is how many secrets an app may have.
	maxSecrets = 200
	// maxSecretBytes is the size of a secret's value.
	maxSecretBytes = 64 << 10
	// keptSecretBytes is how much of old versions a secret keeps, besides the newest one
	// and what is live.
	keptSecretBytes = 1 << 20
)

// errNoSecretKey: what one node would seal, the others could not open.
var errNoSecretKey = errors.New("these nodes have no key for secrets in common: make one with `orla cluster secret > FILE`, " +
	"and start every node that uses this NATS with --cluster NAME and --cluster-secret-file FILE")

// secretKey is the register's key of a secret; names are upper-case, keys are not.
func secretKey(app, name string) string { return secretPrefix + app + "." + strings.ToLower(name) }

// secretPlace is what a version is sealed for: it opens nowhere else.
func secretPlace(app, name string, version uint64) string {
	return fmt.Sprintf("%s@%d", secretKey(app, name), version)
}

// vault is the register's secrets in memory, sealed: a release that is built without
// NATS needs them.
type vault struct {
	mu      sync.RWMutex // guards all below
	entries map[string]*orlav1.Secret
	changed chan struct{} // closed with the next update; nil: nobody waits
}

// apply takes an update over. What cannot be decoded is left out and named.
func (v *vault) apply(u cluster.Update) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if u.Full || v.entries == nil {
		v.entries = map[string]*orlav1.Secret{}
	}
	var broken []string
	for _, e := range u.Entries {
		if !strings.HasPrefix(e.Key, secretPrefix) {
			continue
		}
		delete(v.entries, e.Key)
		if e.Value == nil {
			continue
		}
		s, err := decode[orlav1.Secret](e.Value)
		if err != nil {
			broken = append(broken, e.Key)
			continue
		}
		v.entries[e.Key] = s
	}
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
	if broken != nil {
		return fmt.Errorf("control: secrets cannot be decoded: %q", broken)
	}
	return nil
}

// versionWait is how long a version is waited for that the register has and its update
// has yet to bring: a release is built as soon as a hub asks for it.
const versionWait = 2 * time.Second

// version returns one version of a secret; nil if there is none. One that is newer than
// all that the node knows of is waited for.
func (v *vault) version(ctx context.Context, app, name string, version uint64) *orlav1.SecretVersion {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	for {
		v.mu.Lock()
		entry := v.entries[secretKey(app, name)]
		if v.changed == nil {
			v.changed = make(chan struct{})
		}
		changed := v.changed
		v.mu.Unlock()
		if entry.GetLast() >= version {
			return versionOf(entry, version)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// of returns an app's secrets that are set, by name.
func (v *vault) of(app string) []*orlav1.Secret {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var all []*orlav1.Secret
	for key, s := range v.entries {
		if strings.HasPrefix(key, secretPrefix+app+".") && len(s.GetVersions()) > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *orlav1.Secret) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

func versionOf(s *orlav1.Secret, version uint64) *orlav1.SecretVersion {
	for _, v := range s.GetVersions() {
		if v.GetVersion() == version {
			return v
		}
	}
	return nil
}

// Grants returns what a function of an app gets beside what its release says: the values
// of its secrets, at the versions that the release has, and the app's key-value store.
func (s *Service) Grants(ctx context.Context, app string, f *orlav1.Function) (runtime.Grants, error) {
	g := runtime.Grants{KV: s.appKV(app)}
	for _, ref := range f.GetSecrets() {
		value, err := s.openSecret(ctx, app, ref)
		if err != nil {
			return runtime.Grants{}, &runtime.FunctionError{Function: f.GetName(), Field: "secrets", Problem: err.Error()}
		}
		if g.Secrets == nil {
			g.Secrets = map[string]string{}
		}
		g.Secrets[ref.GetName()] = string(value)
	}
	return g, nil
}

// openSecret returns the value of one version.
func (s *Service) openSecret(ctx context.Context, app string, ref *orlav1.SecretRef) ([]byte, error) {
	name, again := ref.GetName(), fmt.Sprintf("run `orla secrets set %s %s`, then deploy again", app, ref.GetName())
	if s.cfg.SecretKey == nil {
		return nil, errNoSecretKey
	}
	v := s.vault.version(ctx, app, name, ref.GetVersion())
	if v == nil {
		return nil, fmt.Errorf("version %d of secret %s is not there: it was removed, or many were set after it; %s", ref.GetVersion(), name, again)
	}
	value, err := s.unseal(v.GetSealed(), secretPlace(app, name, v.GetVersion()))
	switch {
	case errors.Is(err, seal.ErrKey):
		return nil, fmt.Errorf("secret %s was sealed with another key than this node has; put DATA/secrets.key back, or %s", name, again)
	case err != nil:
		return nil, fmt.Errorf("secret %s cannot be opened (%w); %s", name, err, again)
	}
	return value, nil
}

// secret reads a secret's entry from the register; nil, at revision 0, if there never
// was one.
func (s *Service) secret(ctx context.Context, app, name string) (*orlav1.Secret, uint64, error) {
	e, err := s.get(ctx, secretKey(app, name))
	if errors.Is(err, cluster.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	entry, err := decode[orlav1.Secret](e.Value)
	return entry, e.Revision, err
}

// pin gives the secrets of a manifest that a client sends their newest versions, and
// sees to it that there is a store for functions that use one.
func (s *Service) pin(ctx context.Context, m *orlav1.Manifest) error {
	var problems release.Problems
	for _, f := range m.GetFunctions() {
		if len(f.GetKv()) > 0 && s.cfg.KV != nil {
			if err := s.cfg.KV.Prepare(ctx); err != nil {
				return err
			}
		}
		for i, ref := range f.GetSecrets() {
			entry, _, err := s.secret(ctx, m.GetName(), ref.GetName())
			if err != nil {
				return err
			}
			if n := len(entry.GetVersions()); n > 0 {
				ref.Version = entry.GetVersions()[n-1].GetVersion()
				continue
			}
			problems = append(problems, release.Problem{
				Field:   fmt.Sprintf("functions.%s.secrets[%d]", f.GetName(), i),
				Message: fmt.Sprintf("secret %s of %q is not set; run `orla secrets set %s %s`, which reads the value from standard input, then deploy again", ref.GetName(), m.GetName(), m.GetName(), ref.GetName()),
			})
		}
	}
	if problems != nil {
		return problems
	}
	return nil
}

// SetSecret implements the API.
func (s *Service) SetSecret(ctx context.Context, req *connect.Request[orlav1.SetSecretRequest]) (*connect.Response[orlav1.SetSecretResponse], error) {
	app, name, started := req.Msg.GetApp(), req.Msg.GetName(), time.Now()
	if err := mustChange(ctx, app); err != nil {
		return nil, err
	}
	if err := checkSecret(app, name, req.Msg.GetValue()); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if s.cfg.SecretKey == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errNoSecretKey)
	}
	version, err := s.addVersion(ctx, app, name, req.Msg.GetValue())
	if err != nil {
		return nil, callError(err)
	}
	s.cfg.Logger.Info("secret set", "app", app, "secret", name, "version", version, "who", caller(ctx).name)
	res := &orlav1.SetSecretResponse{Version: version}
	if !req.Msg.GetNoDeploy() {
		if res.Live, err = s.deploySecret(ctx, req.Msg, version, started); err != nil {
			err = fmt.Errorf("version %d of secret %s is set, but no release with it is live: %w", version, name, err)
			return nil, callError(err)
		}
	}
	return connect.NewResponse(res), nil
}

func checkSecret(app, name string, value []byte) error {
	if err := release.CheckSecretName(name); err != nil {
		return err
	}
	switch {
	case app == "":
		return errors.New("which app's secret is it? name the app")
	case len(value) == 0:
		return errors.New("the value is empty; orla secrets set reads it from standard input")
	case len(value) > maxSecretBytes:
		return fmt.Errorf("the value has %d bytes; a secret has at most %d", len(value), maxSecretBytes)
	case !utf8.Valid(value) || bytes.ContainsRune(value, 0):
		return errors.New("the value has a NUL character or is not UTF-8; encode it, as with base64")
	}
	return nil
}

// addVersion stores a value as the newest version, and waits until this node knows it.
func (s *Service) addVersion(ctx context.Context, app, name string, value []byte) (uint64, error) {
	entry, revision, err := s.secret(ctx, app, name)
	if err != nil {
		return 0, err
	}
	if len(entry.GetVersions()) == 0 && len(s.vault.of(app)) >= maxSecrets {
		return 0, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%q has %d secrets, which is the most; put several values into one", app, maxSecrets))
	}
	if entry == nil {
		entry = &orlav1.Secret{App: app, Name: name}
	}
	entry.Last++
	sealed, err := s.cfg.SecretKey.Seal(value, secretPlace(app, name, entry.GetLast()))
	if err != nil {
		return 0, err
	}
	head, _, err := s.current(ctx, app)
	if err != nil {
		return 0, err
	}
	entry.Versions = s.kept(head, name, entry.GetVersions())
	entry.Versions = append(entry.Versions, &orlav1.SecretVersion{
		Version: entry.GetLast(), Created: timestamppb.Now(), Who: caller(ctx).name, Sealed: sealed,
	})
	encoded, err := encode(entry)
	if err != nil {
		return 0, err
	}
	return entry.GetLast(), s.commitSecret(ctx, name, cluster.Change{Key: secretKey(app, name), Value: encoded, Expect: revision})
}

func (s *Service) commitSecret(ctx context.Context, name string, c cluster.Change) error {
	revision, err := s.change(ctx, c)
	if errors.Is(err, cluster.ErrConflict) {
		return connect.NewError(connect.CodeAborted, fmt.Errorf("secret %s was changed meanwhile; see `orla secrets list` and try again: %w", name, err))
	}
	if err == nil {
		err = s.cfg.Register.Wait(ctx, revision)
	}
	return err
}

// kept returns the versions that a release in the head's history has, or might have;
// of too many bytes, the oldest go but for those that are live.
func (s *Service) kept(head *orlav1.Head, name string, versions []*orlav1.SecretVersion) []*orlav1.SecretVersion {
	used, live, all := s.secretUse(head, name)
	var out []*orlav1.SecretVersion
	size := 0
	for i, v := range slices.Backward(versions) {
		size += len(v.GetSealed())
		newest := i == len(versions)-1
		if live[v.GetVersion()] || size <= keptSecretBytes && (newest || all || used[v.GetVersion()]) {
			out = append(out, v)
		}
	}
	slices.Reverse(out)
	return out
}

// secretUse returns the versions of a secret that releases in the head's history have,
// and those that live ones have. If a manifest cannot be read, all reports that the
// others may be in use too.
func (s *Service) secretUse(head *orlav1.Head, name string) (used, live map[uint64]bool, all bool) {
	used, live = map[uint64]bool{}, map[uint64]bool{}
	serving := map[uint64]bool{head.GetLive(): true}
	for _, share := range head.GetSplit() {
		serving[share.GetRelease()] = true
	}
	for _, rel := range head.GetReleases() {
		_, m, err := s.stored(rel)
		if err != nil {
			all = true
			continue
		}
		for _, f := range m.GetFunctions() {
			for _, ref := range f.GetSecrets() {
				if ref.GetName() == name {
					used[ref.GetVersion()] = true
					live[ref.GetVersion()] = live[ref.GetVersion()] || serving[rel.GetNumber()]
				}
			}
		}
	}
	return used, live, all
}

// deploySecret makes a new release that is the live one but for the secret's version. It
// returns nil if no function of the live release asks for the secret.
func (s *Service) deploySecret(ctx context.Context, req *orlav1.SetSecretRequest, version uint64, started time.Time) (*orlav1.Live, error) {
	name := req.GetName()
	head, revision, err := s.current(ctx, req.GetApp())
	if err != nil || head == nil {
		return nil, err
	}
	before, err := s.live(head)
	if err != nil {
		return nil, err
	}
	m, asks := proto.CloneOf(before), false
	for _, f := range m.GetFunctions() {
		for _, ref := range f.GetSecrets() {
			if ref.GetName() == name {
				ref.Version, asks = version, true
			}
		}
	}
	if !asks {
		return nil, nil
	}
	mv := move{head: head, revision: revision, manifest: m, before: m.GetHosts(), started: started, rollout: req.GetRollout()}
	return s.redeploy(ctx, mv, fmt.Sprintf("secret %s, version %d", name, version))
}

// redeploy makes a changed copy of the live manifest a new release, and makes it live.
func (s *Service) redeploy(ctx context.Context, mv move, message string) (*orlav1.Live, error) {
	head, m := mv.head, mv.manifest
	encoded, digest, err := release.Encode(m)
	if err != nil {
		return nil, err
	}
	created, number := timestamppb.Now(), nextNumber(head)
	built, err := s.cfg.Dispatcher.Build(ctx, dispatch.Spec{Number: number, Digest: digest, Since: created.AsTime(), Manifest: m})
	if err != nil {
		return nil, err
	}
	ended := lead(head, number, nil)
	head.Releases = append(head.Releases, &orlav1.Release{
		Number: number, Digest: digest.String(), Created: created, Who: caller(ctx).name, Message: message,
	})
	stamp(ctx, head)
	mv.digest, mv.encoded, mv.fresh = digest, encoded, true
	mv.store = func() error { return s.storeManifest(encoded) }
	live, err := s.commit(ctx, mv, built)
	if err != nil {
		return nil, err
	}
	live.Ended = ended
	s.cfg.Logger.Info("release live", "app", live.GetName(), "release", live.GetRelease(), "revision", live.GetRevision(), "who", caller(ctx).name)
	return live, nil
}

// ListSecrets implements the API.
func (s *Service) ListSecrets(ctx context.Context, req *connect.Request[orlav1.ListSecretsRequest]) (*connect.Response[orlav1.ListSecretsResponse], error) {
	if err := mustChange(ctx, req.Msg.GetApp()); err != nil {
		return nil, err
	}
	res := &orlav1.ListSecretsResponse{}
	for _, entry := range s.vault.of(req.Msg.GetApp()) {
		shown := proto.CloneOf(entry)
		for _, v := range shown.GetVersions() {
			v.Sealed = nil
		}
		res.Secrets = append(res.Secrets, shown)
	}
	return connect.NewResponse(res), nil
}

// RemoveSecret implements the API.
func (s *Service) RemoveSecret(ctx context.Context, req *connect.Request[orlav1.RemoveSecretRequest]) (*connect.Response[orlav1.RemoveSecretResponse], error) {
	app, name := req.Msg.GetApp(), req.Msg.GetName()
	if err := mustChange(ctx, app); err != nil {
		return nil, err
	}
	if err := release.CheckSecretName(name); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	entry, revision, err := s.secret(ctx, app, name)
	if err != nil {
		return nil, callError(err)
	}
	if len(entry.GetVersions()) == 0 {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("%q has no secret %s; see `orla secrets list %s`", app, name, app))
	}
	head, _, err := s.current(ctx, app)
	if err != nil {
		return nil, callError(err)
	}
	if _, live, _ := s.secretUse(head, name); slices.Contains(slices.Collect(maps.Values(live)), true) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"the live release %d of %q uses secret %s; deploy one that does not ask for it, then remove it", head.GetLive(), app, name))
	}
	entry.Versions = nil
	encoded, err := encode(entry)
	if err != nil {
		return nil, callError(err)
	}
	if err := s.commitSecret(ctx, name, cluster.Change{Key: secretKey(app, name), Value: encoded, Expect: revision}); err != nil {
		return nil, callError(err)
	}
	s.cfg.Logger.Info("secret removed", "app", app, "secret", name, "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.RemoveSecretResponse{}), nil
}

// secretsOf returns the changes that take all secrets of an app away. The numbers of
// their versions may come again: no release that has them is left.
func (s *Service) secretsOf(ctx context.Context, app string) ([]cluster.Change, error) {
	entries, err := s.cfg.Register.List(ctx, secretPrefix+app+".")
	if err != nil {
		return nil, err
	}
	var changes []cluster.Change
	for _, e := range entries {
		changes = append(changes, cluster.Change{Key: e.Key, Expect: e.Revision})
	}
	return changes, nil
}
