package modules_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/orla-edge/orla/modules"
)

func TestVerifierHoldsWrongBytesBack(t *testing.T) {
	content := strings.Repeat("the bytes of a blob", 100)
	digest := modules.Sum([]byte(content))
	tests := []struct {
		name, stream string
		digest       modules.Digest
		size         int
		ok           bool
	}{
		{"right", content, digest, len(content), true},
		{"more follows", content + "more", digest, len(content), true},
		{"other bytes", strings.ToUpper(content), digest, len(content), false},
		{"too short", content[1:], digest, len(content), false},
		{"announced too short", content, digest, len(content) - 1, false},
		{"empty", "", modules.Sum(nil), 0, true},
		{"announced empty", content, digest, 0, false},
		{"negative", content, digest, -1, false},
	}
	for _, tt := range tests {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "late EOF": iotest.DataErrReader,
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				var got bytes.Buffer
				r, err := modules.NewVerifier(wrap(strings.NewReader(tt.stream)), tt.digest, int64(tt.size))
				if err == nil {
					_, err = io.Copy(&got, r)
				}
				if (err == nil) != tt.ok {
					t.Fatalf("error %v, want none: %t", err, tt.ok)
				}
				if tt.ok && got.String() != content[:tt.size] {
					t.Errorf("got %d bytes", got.Len())
				}
				if !tt.ok && (got.Len() >= tt.size && tt.size > 0 || tt.size >= 0 && !errors.Is(err, modules.ErrDigest)) {
					t.Errorf("got %d bytes of %d and %v, want fewer and ErrDigest", got.Len(), tt.size, err)
				}
			})
		}
	}
}
