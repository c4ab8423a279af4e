package site

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// entry is a file as it is served.
type entry struct {
	// path is the canonical URL path, decoded; spelled is how a URL writes it.
	path, spelled string
	// plain says that net/url would write path as it is, too.
	plain bool
	// contentType and cacheControl are the fields' values, shared by many entries.
	contentType, cacheControl []string
	// variants are the encoded representations that are smaller than identity,
	// smallest first; on a tie the better supported one first.
	variants []representation
	identity representation
}

// representation is one form of a file's content (RFC 9110 §3.2).
type representation struct {
	digest modules.Digest
	size   int64
	coding coding
	// fields holds the values of ETag and Content-Length; see field.
	fields [2]string
}

const (
	fieldETag = iota
	fieldLength
)

// field returns a header value made at build time, without allocating. Its capacity
// is its length, so that whoever adds a value gets a copy.
func (rep *representation) field(i int) []string { return rep.fields[i : i+1 : i+1] }

func (rep *representation) etag() string { return rep.fields[fieldETag] }

// sharedFields are header values that entries of one site share.
type sharedFields struct {
	lastModified []string
	types        map[string][]string
}

func newSharedFields(modified time.Time) sharedFields {
	f := sharedFields{types: make(map[string][]string)}
	if !modified.IsZero() {
		f.lastModified = one(modified.UTC().Format(http.TimeFormat))
	}
	return f
}

// contentType returns the field value for a media type, made once for each.
func (f *sharedFields) contentType(mediaType string) []string {
	value, ok := f.types[mediaType]
	if !ok {
		value = one(strings.Clone(mediaType))
		f.types[value[0]] = value
	}
	return value
}

// one returns a field value that cannot be appended to in place.
func one(value string) []string { return []string{value}[:1:1] }

// newEntry reads a manifest's file. Its errors don't name the file.
func newEntry(f *orlav1.File, shared *sharedFields) (*entry, error) {
	mediaType := cmp.Or(f.GetMediaType(), MediaType(f.GetPath(), nil))
	if !validFieldValue(mediaType) {
		return nil, fmt.Errorf("media type %q cannot be sent in a header", mediaType)
	}
	identity, err := newRepresentation(codingIdentity, f.GetDigest(), f.GetSize())
	if err != nil {
		return nil, err
	}
	e := &entry{
		contentType:  shared.contentType(mediaType),
		cacheControl: cacheControl(f.GetPath(), mediaType),
		identity:     identity,
	}
	if err := e.addVariants(f.GetVariants()); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *entry) addVariants(variants []*orlav1.Variant) error {
	if len(variants) == 0 {
		return nil
	}
	seen := make([]coding, 0, len(codings))
	e.variants = make([]representation, 0, len(variants))
	for _, v := range variants {
		c, ok := codingOf(v.GetCoding())
		if !ok || c == codingIdentity {
			return fmt.Errorf("variant has unknown coding %q", v.GetCoding())
		}
		if slices.Contains(seen, c) {
			return fmt.Errorf("variant %s is there twice", v.GetCoding())
		}
		seen = append(seen, c)
		rep, err := newRepresentation(c, v.GetDigest(), v.GetSize())
		if err != nil {
			return fmt.Errorf("variant %s: %w", v.GetCoding(), err)
		}
		if rep.size < e.identity.size {
			e.variants = append(e.variants, rep)
		}
	}
	slices.SortFunc(e.variants, func(a, b representation) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.coding, b.coding))
	})
	return nil
}

func newRepresentation(c coding, digest string, size int64) (representation, error) {
	if size < 0 {
		return representation{}, errors.New("size is negative")
	}
	d, err := modules.ParseDigest(digest)
	if err != nil {
		return representation{}, err
	}
	// Half of the digest tells any two contents apart that somebody did not make to
	// collide on purpose, which takes 2^64 steps and confuses only their own site.
	// Both values share one allocation.
	both := `"` + base64.RawURLEncoding.EncodeToString(d[:len(d)/2]) + `"` + strconv.FormatInt(size, 10)
	const etagLen = 24
	return representation{
		digest: d,
		size:   size,
		coding: c,
		fields: [2]string{fieldETag: both[:etagLen], fieldLength: both[etagLen:]},
	}, nil
}

func (e *entry) setPath(path string) {
	e.path, e.spelled, e.plain = path, spell(path), spelledAsGo(path)
}

// validFieldValue reports whether s may be a field value (RFC 9110 §5.5), in ASCII.
func validFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(s) == s
}
