package modules

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// verifier passes on a stream whose last byte it holds back until all are right.
type verifier struct {
	r    io.Reader
	hash hash.Hash
	want Digest
	left int64
	err  error // ends the stream
}

// NewVerifier returns a reader of the size bytes of r that are the blob of that
// digest. Who copies it gets all of them, or fewer and an error that wraps
// [ErrDigest]: where a copy that is too short does not count, as in an upload with a
// Content-Length, wrong bytes don't either. A blob of no bytes is verified at once.
func NewVerifier(r io.Reader, digest Digest, size int64) (io.Reader, error) {
	v := &verifier{r: r, hash: sha256.New(), want: digest, left: size}
	switch {
	case size < 0:
		return nil, fmt.Errorf("verify blob %s: a size of %d is not one", digest, size)
	case size == 0 && Sum(nil) != digest:
		return nil, fmt.Errorf("verify blob %s: %w: no bytes", digest, ErrDigest)
	case size == 0:
		v.err = io.EOF
	}
	return v, nil
}

func (v *verifier) Read(b []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(b[:min(int64(len(b)), v.left)])
	v.hash.Write(b[:n])
	v.left -= int64(n)
	if v.left == 0 {
		v.err = io.EOF
		if got := Digest(v.hash.Sum(nil)); got != v.want {
			v.err = fmt.Errorf("verify blob %s: %w: got %s", v.want, ErrDigest, got)
			return 0, v.err
		}
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("verify blob %s: %w: %d bytes are lacking", v.want, ErrDigest, v.left)
	}
	v.err = err
	return n, err
}
