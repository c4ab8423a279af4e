package site

import (
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Levels, measured on one core with the 1,040 text files, 62 MiB, of Python's
// documentation (ratio of output to input):
//
//	br   4: 38 MB/s 0.169    br   5: 25 MB/s 0.156   br   6: 21 MB/s 0.155   br   9: 15 MB/s 0.152
//	gzip 6: 141 MB/s 0.181   gzip 8: 56 MB/s 0.175   gzip 9: 24 MB/s 0.173
//	zstd default: 169 MB/s 0.182   better: 123 MB/s 0.171   best: 24 MB/s 0.162
//
// Together the chosen ones take 4.8 s of one core; the next ones up cost half again
// as much for 2 % less.
const (
	brotliLevel = 6
	gzipLevel   = 8
	zstdLevel   = zstd.SpeedBetterCompression
)

// zstdWindow is the largest that every decoder of the content coding has to
// support (RFC 9659 §3).
const zstdWindow = 8 << 20

// encoders are the encoders of one worker, each used for one file at a time.
type encoders struct {
	brotli *brotli.Writer
	gzip   *gzip.Writer
	zstd   *zstd.Encoder
}

func newEncoders() (*encoders, error) {
	g, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		return nil, fmt.Errorf("make gzip encoder: %w", err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevel), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	return &encoders{brotli: brotli.NewWriterLevel(nil, brotliLevel), gzip: g, zstd: z}, nil
}

// start points the encoder of a coding at dst, for size bytes. The caller closes the
// writer, which ends the stream and leaves dst open.
func (e *encoders) start(c coding, dst io.Writer, size int64) io.WriteCloser {
	switch c {
	case codingBrotli:
		e.brotli.Reset(dst)
		return e.brotli
	case codingZstd:
		e.zstd.ResetContentSize(dst, size)
		return e.zstd
	case codingGzip:
		e.gzip.Reset(dst)
		return e.gzip
	case codingIdentity, codingCount:
	}
	panic("site: no encoder for " + codings[c])
}
