// Package store finds the common store that a person named by URL: an S3 bucket or
// a repository of an OCI registry. It knows the URLs' parts and nothing else.
package store

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/orla-edge/orla/modules/oci"
	"github.com/orla-edge/orla/modules/peer"
	"github.com/orla-edge/orla/modules/s3"
)

// Parse returns the store at a URL without connecting to it:
//
//	s3://BUCKET[/PREFIX][?endpoint=HOST:PORT|http://HOST:PORT][&region=R][&credentials=FILE][&profile=P]
//	oci://REGISTRY/REPOSITORY[?http=true]
//
// Connections use TLS unless the endpoint says http:// or the URL http=true.
// Credentials come from the environment or from files, never from the URL; see
// [s3.Config] and [oci.Config].
func Parse(raw string) (peer.Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // without what was typed, which may have a password in it
		}
		return nil, fmt.Errorf("blob store: not a URL: %w; %s", err, want)
	}
	if u.User != nil {
		return nil, fmt.Errorf("blob store %s: leave user and password out of the URL; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the registry's config.json", name(u))
	}
	if u.Host == "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("blob store %q: %s", name(u), want)
	}
	switch u.Scheme {
	case "s3":
		return parseS3(u)
	case "oci":
		return parseOCI(u)
	}
	return nil, fmt.Errorf("blob store %q: %s", name(u), want)
}

const want = "want s3://BUCKET/PREFIX?endpoint=HOST:PORT or oci://REGISTRY/REPOSITORY"

// name is the URL without what may be secret or was misspelt.
func name(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

func parseS3(u *url.URL) (peer.Store, error) {
	query, err := values(u, "endpoint", "region", "credentials", "profile")
	if err != nil {
		return nil, err
	}
	endpoint, plain := strings.CutPrefix(query["endpoint"], "http://")
	endpoint = strings.TrimSuffix(strings.TrimPrefix(endpoint, "https://"), "/")
	s, err := s3.New(s3.Config{
		Endpoint:    endpoint,
		HTTP:        plain,
		Bucket:      u.Host,
		Prefix:      strings.Trim(u.Path, "/"),
		Region:      cmp.Or(query["region"], os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		Credentials: query["credentials"],
		Profile:     query["profile"],
	})
	if err != nil {
		return nil, fmt.Errorf("blob store %s: %w", name(u), err)
	}
	return s, nil
}

func parseOCI(u *url.URL) (peer.Store, error) {
	query, err := values(u, "http")
	if err != nil {
		return nil, err
	}
	plain := query["http"]
	if plain != "" && plain != "true" && plain != "false" {
		return nil, fmt.Errorf("blob store %s: http is true or false, not %q", name(u), plain)
	}
	s, err := oci.New(oci.Config{Repository: u.Host + u.Path, HTTP: plain == "true"})
	if err != nil {
		return nil, fmt.Errorf("blob store %s: %w", name(u), err)
	}
	return s, nil
}

// values returns the parameters of the URL, each of which must be known and there once.
func values(u *url.URL, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("blob store %s: %w", name(u), err)
	}
	all := map[string]string{}
	for key, v := range query {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("blob store %s: unknown parameter %q; there are %s", name(u), key, strings.Join(known, ", "))
		}
		if len(v) != 1 {
			return nil, fmt.Errorf("blob store %s: give %q once", name(u), key)
		}
		all[key] = v[0]
	}
	return all, nil
}
