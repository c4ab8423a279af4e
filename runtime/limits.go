package runtime

import (
	"cmp"
	"fmt"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/wasm"
)

// What a function may ask for at most.
const (
	// MaxMemory is the largest cap of a memory in bytes: all that 32 bits address.
	MaxMemory = 4 << 30
	// MaxTimeout is the longest deadline.
	MaxTimeout = time.Hour
	// MaxConcurrency is the most requests inside one function.
	MaxConcurrency = 10_000
)

// limits are what bounds the requests of one function.
type limits struct {
	memory      uint64 // bytes, whole pages
	timeout     time.Duration
	concurrency int
}

func limitsOf(f *orlav1.Function, cfg Config) (limits, error) {
	l := limits{
		memory:      uint64(cmp.Or(f.GetMemoryBytes(), cfg.Memory)),
		timeout:     cfg.Timeout,
		concurrency: cmp.Or(int(f.GetConcurrency()), cfg.Concurrency),
	}
	if f.GetMemoryBytes() < 0 || l.memory > MaxMemory || l.memory < wasm.PageSize {
		return l, &FunctionError{Field: "memory", Problem: fmt.Sprintf("%d bytes are not between 64KiB and 4GiB", f.GetMemoryBytes())}
	}
	l.memory -= l.memory % wasm.PageSize
	if f.GetTimeout() != nil {
		if l.timeout = f.GetTimeout().AsDuration(); l.timeout <= 0 || l.timeout > MaxTimeout {
			return l, &FunctionError{Field: "timeout", Problem: fmt.Sprintf("%s is not between 0s and %s", l.timeout, MaxTimeout)}
		}
	}
	if l.concurrency > MaxConcurrency {
		return l, &FunctionError{Field: "concurrency", Problem: fmt.Sprintf("%d is more than %d", l.concurrency, MaxConcurrency)}
	}
	return l, nil
}

func tooLittle(needs, has uint64) string {
	const mib = 1 << 20
	return fmt.Sprintf("the module needs %d MiB to begin with, and may have %d MiB; set memory = \"%dMiB\" or more",
		(needs+mib-1)/mib, has/mib, (needs+mib-1)/mib)
}
