// Package s3 keeps blobs in a bucket that speaks Amazon's S3 protocol, below the
// same names as a [modules.Dir] has: PREFIX/blobs/sha256/ab/cdef…. It knows no
// nodes and removes nothing.
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/orla-edge/orla/modules"
)

// Config says where the bucket is and who asks.
type Config struct {
	Endpoint string // host or host:port; empty means Amazon's
	HTTP     bool   // do not use TLS
	Bucket   string // required; it must exist
	Region   string // empty means us-east-1
	Prefix   string // before each key; may have slashes

	// Credentials and Profile name a file in the format of ~/.aws/credentials and a
	// part of it; empty means what the AWS_ variables of the environment say, which
	// come first in any case: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
	// AWS_SESSION_TOKEN, AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE. Without any,
	// requests are anonymous.
	Credentials, Profile string

	Transport http.RoundTripper // nil means one of its own
}

// Store is a bucket. Its methods may be called concurrently.
type Store struct {
	client *minio.Client
	bucket string
	prefix string
}

// maxTries is how often a request is made that can be made again.
const maxTries = 3

// New returns the store. It does not connect.
func New(cfg Config) (*Store, error) {
	client, err := minio.New(cmp.Or(cfg.Endpoint, "s3.amazonaws.com"), &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.FileAWSCredentials{Filename: cfg.Credentials, Profile: cfg.Profile},
		}),
		Secure:     !cfg.HTTP,
		Region:     cmp.Or(cfg.Region, "us-east-1"),
		Transport:  cfg.Transport,
		MaxRetries: maxTries,
	})
	if err != nil {
		return nil, fmt.Errorf("use bucket %q: %w", cfg.Bucket, err)
	}
	return &Store{client: client, bucket: cfg.Bucket, prefix: cfg.Prefix}, nil
}

// String names the store as a person would write it.
func (s *Store) String() string { return "s3://" + path.Join(s.bucket, s.prefix) }

func (s *Store) key(digest modules.Digest) string {
	hex := digest.Hex()
	return path.Join(s.prefix, "blobs/sha256", hex[:2], hex[2:])
}

// Get streams a blob from the given offset, which is less than its size unless it
// is zero, to the end.
func (s *Store) Get(ctx context.Context, digest modules.Digest, offset int64) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	if offset > 0 {
		if err := options.SetRange(offset, 0); err != nil {
			return nil, s.failed("get", digest, err)
		}
	}
	body, _, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.bucket, s.key(digest), options)
	if err != nil {
		return nil, s.failed("get", digest, err)
	}
	return body, nil
}

// Put stores the size bytes of r. Others than the digest's do not become visible.
func (s *Store) Put(ctx context.Context, digest modules.Digest, size int64, r io.Reader) error {
	verified, err := modules.NewVerifier(r, digest, size)
	if err != nil {
		return s.failed("put", digest, err)
	}
	_, err = s.client.PutObject(ctx, s.bucket, s.key(digest), verified, size, minio.PutObjectOptions{
		ContentType: "application/octet-stream",
	})
	if err != nil {
		return s.failed("put", digest, err)
	}
	return nil
}

// Has reports whether the bucket has the blob.
func (s *Store) Has(ctx context.Context, digest modules.Digest) (bool, error) {
	_, err := s.client.StatObject(ctx, s.bucket, s.key(digest), minio.StatObjectOptions{})
	if err == nil {
		return true, nil
	}
	if err = s.failed("look for", digest, err); errors.Is(err, modules.ErrNotFound) {
		return false, nil
	}
	return false, err
}

// failed says what the bucket's answer means.
func (s *Store) failed(verb string, digest modules.Digest, err error) error {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case !ok:
	case answer.Code == minio.NoSuchKey:
		err = modules.ErrNotFound
	case answer.Code == minio.NoSuchBucket:
		err = fmt.Errorf("there is no such bucket; create it: %w", err)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		err = fmt.Errorf("not allowed; give the node AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a credentials file, of somebody who may do this: %w", err)
	}
	return fmt.Errorf("%s blob %s in %s: %w", verb, digest, s, err)
}
