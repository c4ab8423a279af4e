package release

import (
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// MaxSize is the most bytes that an encoded manifest may have.
const MaxSize = 64 << 20

// ErrTooLarge is wrapped by errors about manifests of more than [MaxSize].
var ErrTooLarge = errors.New("release: manifest is too large")

// Encode returns the bytes under which a manifest is stored, and their digest.
// Equal manifests have equal bytes.
func Encode(m *orlav1.Manifest) ([]byte, modules.Digest, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, modules.Digest{}, fmt.Errorf("encode manifest of %s: %w", quote(m.GetName()), err)
	}
	if len(b) > MaxSize {
		return nil, modules.Digest{}, fmt.Errorf("encode manifest of %s: %w: %d bytes, the most is %d; deploy fewer files", quote(m.GetName()), ErrTooLarge, len(b), MaxSize)
	}
	return b, modules.Sum(b), nil
}

// Decode reads what [Encode] wrote. It does not validate.
func Decode(b []byte) (*orlav1.Manifest, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("decode manifest: %w: %d bytes, the most is %d", ErrTooLarge, len(b), MaxSize)
	}
	m := new(orlav1.Manifest)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
}

// Summary counts what is in a release. Bytes are those of the site's files.
func Summary(m *orlav1.Manifest) *orlav1.Summary {
	s := &orlav1.Summary{
		Files:     uint64(len(m.GetSite().GetFiles())),
		Functions: uint64(len(m.GetFunctions())),
		Routes:    uint64(len(m.GetRoutes())),
	}
	for _, f := range m.GetSite().GetFiles() {
		s.Bytes += uint64(max(f.GetSize(), 0))
	}
	return s
}

// Digests goes through the blobs that a manifest refers to, each once: the
// site's files and their variants, the functions' modules and files. What is no
// digest is left out; [Validate] reports it.
func Digests(m *orlav1.Manifest) iter.Seq[modules.Digest] {
	return func(yield func(modules.Digest) bool) {
		seen := make(map[modules.Digest]bool)
		for s := range references(m) {
			d, err := modules.ParseDigest(s)
			if err != nil || seen[d] {
				continue
			}
			seen[d] = true
			if !yield(d) {
				return
			}
		}
	}
}

// references goes through everything in m that should be a digest.
func references(m *orlav1.Manifest) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !fileReferences(m.GetSite().GetFiles(), yield) {
			return
		}
		for _, fn := range m.GetFunctions() {
			if !yield(fn.GetModule()) || !fileReferences(fn.GetFiles(), yield) {
				return
			}
		}
	}
}

// fileReferences reports whether yield wants more.
func fileReferences(files []*orlav1.File, yield func(string) bool) bool {
	for _, f := range files {
		if !yield(f.GetDigest()) {
			return false
		}
		for _, v := range f.GetVariants() {
			if !yield(v.GetDigest()) {
				return false
			}
		}
	}
	return true
}
