package runtime

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

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
	cpu         time.Duration
	concurrency int
	fresh       bool // initialise an instance for each request
	pooled      bool // instances keep their state

	stack    int64 // bytes
	elements uint32
	calls    int64
	request  int64 // bytes
	response int64 // bytes
	log      int64 // bytes
	logRate  int   // lines a second
	timing   bool
}

// The defaults of the limits that a node does not configure.
const (
	defaultStack    = 8 << 20
	defaultElements = 100_000
	defaultCalls    = 10_000_000
	defaultRequest  = 1 << 30
	defaultResponse = 4 << 30
	defaultLog      = 256 << 10
	defaultLogRate  = 1000
)

func limitsOf(f *orlav1.Function, cfg Config) (limits, error) {
	x := f.GetLimits()
	l := limits{
		memory:      uint64(cmp.Or(f.GetMemoryBytes(), cfg.Memory)),
		timeout:     cfg.Timeout,
		cpu:         cfg.CPU,
		concurrency: cmp.Or(int(f.GetConcurrency()), cfg.Concurrency),
		fresh:       f.GetIsolation() == orlav1.Isolation_ISOLATION_FRESH,
		pooled:      f.GetIsolation() == orlav1.Isolation_ISOLATION_POOLED,
		stack:       cmp.Or(x.GetStackBytes(), defaultStack),
		elements:    cmp.Or(x.GetTableElements(), defaultElements),
		calls:       cmp.Or(x.GetHostCalls(), defaultCalls),
		request:     cmp.Or(x.GetRequestBodyBytes(), defaultRequest),
		response:    cmp.Or(x.GetResponseBodyBytes(), defaultResponse),
		log:         cmp.Or(x.GetLogBytes(), defaultLog),
		logRate:     cmp.Or(int(x.GetLogLinesPerSecond()), defaultLogRate),
		timing:      f.GetServerTiming(),
	}
	if f.GetMemoryBytes() < 0 || l.memory > MaxMemory || l.memory < wasm.PageSize {
		return l, &FunctionError{Field: "memory", Problem: fmt.Sprintf("%d bytes are not between 64KiB and 4GiB", f.GetMemoryBytes())}
	}
	l.memory -= l.memory % wasm.PageSize
	var err error
	if l.timeout, err = within(f.GetTimeout(), "timeout", l.timeout); err != nil {
		return l, err
	}
	if l.cpu, err = within(f.GetCpu(), "cpu", l.cpu); err != nil {
		return l, err
	}
	if l.concurrency > MaxConcurrency {
		return l, &FunctionError{Field: "concurrency", Problem: fmt.Sprintf("%d is more than %d", l.concurrency, MaxConcurrency)}
	}
	return l, nil
}

// within returns the duration d, or what stands for none.
func within(d *durationpb.Duration, field string, none time.Duration) (time.Duration, error) {
	if d == nil {
		return none, nil
	}
	v := d.AsDuration()
	if v <= 0 || v > MaxTimeout {
		return 0, &FunctionError{Field: field, Problem: fmt.Sprintf("%s is not between 0s and %s", v, MaxTimeout)}
	}
	return v, nil
}

func tooLittle(needs, has uint64) string {
	const mib = 1 << 20
	return fmt.Sprintf("the module needs %d MiB to begin with, and may have %d MiB; set memory = \"%dMiB\" or more",
		(needs+mib-1)/mib, has/mib, (needs+mib-1)/mib)
}

func tooFewElements(needs, has uint32) string {
	return fmt.Sprintf("the module's table begins with %d elements, and may have %d; set limits.table = %d or more", needs, has, needs)
}
