package runtime

import (
	"cmp"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/runtime/memory"
)

// MaxModule is the size in bytes of the largest module that is loaded.
const MaxModule = 64 << 20

// Blobs is where module and file contents come from: the node's store.
type Blobs interface {
	// Read returns the content of d, verified, or an error that wraps
	// [modules.ErrTooLarge] if it has more than max bytes.
	Read(d modules.Digest, max int64) ([]byte, error)
	// Open opens the content of d for reading, not verified.
	Open(d modules.Digest) (*os.File, error)
}

// Config says what an Engine may use. Blobs must be set for [Engine.Load].
type Config struct {
	// CacheDir keeps compiled code across restarts. Empty means in memory only.
	CacheDir string
	Blobs    Blobs
	// Logger takes what guests print and what goes wrong with them. Nil means discard.
	Logger *slog.Logger
	// Tracer and Meter may be nil: no spans, no metrics.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider

	// Memory is the cap in bytes of an instance's linear memory for functions that set
	// none. Zero means 64 MiB.
	Memory int64
	// Timeout is the wall-clock deadline of a request for functions that set none. Zero
	// means 10 s.
	Timeout time.Duration
	// Concurrency is how many requests may be inside a function that sets no number of
	// its own. Zero means 64.
	Concurrency int
	// CPU is how much CPU time a request may use in functions that set none. Zero means
	// 5 s.
	CPU time.Duration
	// MaxWait is how long a request may wait for its turn. Zero means 1 s.
	MaxWait time.Duration

	// MaxMemory bounds the bytes of all instances together. Zero means half of the
	// machine's memory, or of what the process's control group may use.
	MaxMemory int64
	// MaxInstances bounds the instances of all functions together. Zero means 20,000.
	MaxInstances int
	// Idle is how long an instance that nobody uses is kept, and a program that nobody
	// calls stays in memory ten times as long. Zero means 30 s.
	Idle time.Duration
	// MaxLoaded is how many programs that nobody calls stay in memory. Zero means 200.
	MaxLoaded int
	// CompileCommand is the command line of the child that compiles ([compile.Child]).
	// Empty means to compile in this process, without limits.
	CompileCommand []string
}

func (c Config) withDefaults() Config {
	c.Memory = cmp.Or(c.Memory, 64<<20)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.CPU = cmp.Or(c.CPU, 5*time.Second)
	c.MaxMemory = cmp.Or(c.MaxMemory, memory.Available()/2)
	c.MaxInstances = cmp.Or(c.MaxInstances, 20_000)
	c.Idle = cmp.Or(c.Idle, 30*time.Second)
	c.MaxLoaded = cmp.Or(c.MaxLoaded, 200)
	c.MaxWait = cmp.Or(c.MaxWait, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Tracer == nil {
		c.Tracer = nooptrace.NewTracerProvider()
	}
	if c.Meter == nil {
		c.Meter = noopmetric.NewMeterProvider()
	}
	return c
}
