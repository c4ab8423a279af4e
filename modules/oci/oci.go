// Package oci keeps blobs in a repository of an OCI registry (OCI Distribution
// Specification 1.1), each under its own digest. It knows no nodes and removes
// nothing; the registry removes what no manifest names, so [Store.Keep] writes
// manifests.
package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/orla-edge/orla/modules"
)

// Config says where the repository is.
type Config struct {
	Repository string // such as registry.example:5000/team/blobs, without tag; required
	HTTP       bool   // do not use TLS

	// Transport is nil for one of its own. Credentials are those of Docker's
	// configuration: $DOCKER_CONFIG/config.json or ~/.docker/config.json.
	Transport http.RoundTripper
}

// Store is a repository. Its methods may be called concurrently.
type Store struct {
	repository *remote.Repository
}

const (
	artifactType  = "application/vnd.orla.blobs.v1"
	blobMediaType = "application/octet-stream"
	// maxLayers is how many blobs one manifest names: registries accept manifests
	// of 4 MiB, and this is some 250 KiB.
	maxLayers = 1500
)

// New returns the store. It does not connect.
func New(cfg Config) (*Store, error) {
	repository, err := remote.NewRepository(cfg.Repository)
	if err != nil {
		return nil, fmt.Errorf("use repository %q: %w", cfg.Repository, err)
	}
	if repository.Reference.Reference != "" {
		return nil, fmt.Errorf("use repository %q: leave out %q: blobs have no tag of their own", cfg.Repository, repository.Reference.Reference)
	}
	docker, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("use repository %q: read the registry's credentials: %w", cfg.Repository, err)
	}
	if cfg.Transport == nil {
		cfg.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32}
	}
	repository.PlainHTTP = cfg.HTTP
	repository.Client = &auth.Client{
		Client:     &http.Client{Transport: retry.NewTransport(cfg.Transport)},
		Cache:      auth.NewCache(),
		Credential: credentials.Credential(docker),
	}
	return &Store{repository}, nil
}

// String names the store as a person would write it.
func (s *Store) String() string {
	ref := s.repository.Reference
	return "oci://" + ref.Registry + "/" + ref.Repository
}

// Get streams a blob from the given offset, which is less than its size unless it
// is zero, to the end.
func (s *Store) Get(ctx context.Context, digest modules.Digest, offset int64) (io.ReadCloser, error) {
	fetcher, ok := s.repository.Blobs().(registry.ReferenceFetcher)
	if !ok {
		return nil, s.failed("get", digest, errdef.ErrUnsupported)
	}
	_, body, err := fetcher.FetchReference(ctx, digest.String())
	if err != nil {
		return nil, s.failed("get", digest, err)
	}
	if err := skip(body, offset); err != nil {
		return nil, errors.Join(s.failed("get", digest, err), body.Close())
	}
	return body, nil
}

// skip moves on by a range request where the registry knows them.
func skip(body io.Reader, offset int64) error {
	if offset == 0 {
		return nil
	}
	if seeker, ok := body.(io.Seeker); ok {
		_, err := seeker.Seek(offset, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, body, offset)
	return err
}

// Put stores the size bytes of r. Others than the digest's do not become visible.
func (s *Store) Put(ctx context.Context, digest modules.Digest, size int64, r io.Reader) error {
	verified, err := modules.NewVerifier(r, digest, size)
	if err != nil {
		return s.failed("put", digest, err)
	}
	if err := s.repository.Blobs().Push(ctx, descriptor(digest, size), verified); err != nil {
		return s.failed("put", digest, err)
	}
	return nil
}

// Has reports whether the repository has the blob.
func (s *Store) Has(ctx context.Context, digest modules.Digest) (bool, error) {
	_, err := s.repository.Blobs().Resolve(ctx, digest.String())
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, s.failed("look for", digest, err)
	}
	return true, nil
}

// Keep writes manifests that name the blobs, given with their sizes in bytes, so
// that the registry does not remove them. The same blobs have the same manifests.
func (s *Store) Keep(ctx context.Context, blobs map[modules.Digest]int64) error {
	layers := make([]ocispec.Descriptor, 0, len(blobs))
	for d, size := range blobs {
		layers = append(layers, descriptor(d, size))
	}
	slices.SortFunc(layers, func(a, b ocispec.Descriptor) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	for some := range slices.Chunk(layers, maxLayers) {
		if err := s.keep(ctx, some); err != nil {
			return fmt.Errorf("write a manifest of %d blobs to %s: %w", len(some), s, explain(err))
		}
	}
	return nil
}

func (s *Store) keep(ctx context.Context, layers []ocispec.Descriptor) error {
	empty := ocispec.DescriptorEmptyJSON
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       ocispec.Descriptor{MediaType: empty.MediaType, Digest: empty.Digest, Size: empty.Size},
		Layers:       layers,
	})
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Digest: digest.FromBytes(manifest), Size: int64(len(manifest)),
	}
	tag := "orla-" + desc.Digest.Encoded()[:40]
	if have, err := s.repository.Manifests().Resolve(ctx, tag); err == nil && have.Digest == desc.Digest {
		return nil
	}
	if ok, err := s.repository.Blobs().Exists(ctx, empty); err != nil || !ok {
		if err := s.repository.Blobs().Push(ctx, empty, bytes.NewReader(empty.Data)); err != nil {
			return err
		}
	}
	return s.repository.Manifests().PushReference(ctx, desc, bytes.NewReader(manifest), tag)
}

func descriptor(d modules.Digest, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: blobMediaType, Digest: digest.Digest(d.String()), Size: size}
}

func (s *Store) failed(verb string, digest modules.Digest, err error) error {
	return fmt.Errorf("%s blob %s in %s: %w", verb, digest, s, explain(err))
}

// explain says what the registry's answer means.
func explain(err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return modules.ErrNotFound
	}
	answer, ok := errors.AsType[*errcode.ErrorResponse](err)
	if ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("not allowed; log in as the node's user with a tool that writes Docker's config.json, or set DOCKER_CONFIG: %w", err)
	}
	return err
}
