package compile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// MaxModule is the size in bytes of the largest prepared module that is compiled.
// Preparing makes modules larger.
const MaxModule = 256 << 20

// ErrInvalid is wrapped by the error for a module that the engine refuses.
var ErrInvalid = errors.New("the engine refuses the module")

// errMiss is returned by the engine instead of compiling.
var errMiss = errors.New("compile: the cache does not hold the module's code")

// LimitError is returned when compiling a module took more than it may.
type LimitError struct {
	// What is "memory", "cpu", "time" (on the wall), or "size" (of the machine code).
	What string
	// Limit is the limit as a person writes it: "4 GiB", "1m0s".
	Limit string
}

func (e *LimitError) Error() string {
	what := e.What
	switch what {
	case "cpu":
		what = "CPU time"
	case "size":
		what = "machine code"
	}
	return fmt.Sprintf("compiling the module takes more %s than the limit of %s; make the module or its largest functions smaller", what, e.Limit)
}

// Config says where and within which limits modules are compiled.
type Config struct {
	// Dir is the folder of the cache. Nobody but its owner may be able to write to it:
	// what it holds is executed. Empty means code is kept in memory only and compiled
	// in this process, without limits.
	Dir string
	// Command is the program and the first arguments of the child: what it runs is
	// [Child] with the further arguments. Empty means to compile in this process,
	// without limits, which is also what happens on Windows.
	Command []string
	// Memory is how many bytes of address space a child may add to those it began
	// with. Zero means 4 GiB.
	Memory int64
	// CPU is the processor time of a child, rounded up to seconds. Zero means 60 s.
	CPU time.Duration
	// Timeout is how long a child may run. Zero means 120 s.
	Timeout time.Duration
	// MaxBytes bounds the cache. Zero means 4 GiB.
	MaxBytes int64
	// MaxAge is how long code is kept that nobody loads. Zero means 30 days.
	MaxAge time.Duration
	// Logger takes what becomes of the cache. Nil means discard.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Command = slices.Clone(c.Command)
	if goruntime.GOOS == "windows" {
		c.Command = nil
	}
	c.Memory = cmp.Or(c.Memory, 4<<30)
	c.CPU = cmp.Or(c.CPU, time.Minute)
	c.Timeout = cmp.Or(c.Timeout, 2*time.Minute)
	c.MaxBytes = cmp.Or(c.MaxBytes, 4<<30)
	c.MaxAge = cmp.Or(c.MaxAge, 30*24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Compiler fills the cache and loads from it. It is safe for concurrent use.
type Compiler struct {
	cfg   Config
	cache wazero.CompilationCache
	store *store // nil without a folder
	queue *queue
	// added counts the bytes that came into the cache since it was last cleaned.
	added atomic.Int64

	mu   sync.Mutex     // guards pins
	pins map[string]int // by module: how many are about to load its code
}

// New returns a Compiler whose folder is made if there is none. It starts nothing.
func New(cfg Config) (*Compiler, error) {
	cfg = cfg.withDefaults()
	c := &Compiler{cfg: cfg, queue: newQueue(max(1, goruntime.GOMAXPROCS(0)-1)), pins: make(map[string]int)}
	if cfg.Dir == "" {
		c.cache = wazero.NewCompilationCache()
		return c, nil
	}
	var err error
	if c.store, err = openStore(cfg.Dir); err != nil {
		return nil, err
	}
	if c.cache, err = wazero.NewCompilationCacheWithDir(c.store.root); err != nil {
		return nil, fmt.Errorf("open code cache %q: %w", c.store.root, err)
	}
	return c, nil
}

// Cache returns what the process's one engine is to be built with. Whoever builds it
// closes the cache, after the engine.
func (c *Compiler) Cache() wazero.CompilationCache { return c.cache }

// Compile sees to it that the cache holds the code of module, a prepared module. There
// is one child at a time for each tenant and at most one less than there are
// processors in all, but one; the others wait, in order.
//
// The error is a [*LimitError], wraps [ErrInvalid], is the context's cause, or is
// nobody's fault that wrote the module. Without a folder Compile does nothing.
func (c *Compiler) Compile(ctx context.Context, tenant string, module []byte) error {
	if c.store == nil {
		return nil
	}
	return c.compile(ctx, tenant, module, sha256.Sum256(module))
}

func (c *Compiler) compile(ctx context.Context, tenant string, module []byte, d digest) error {
	if c.holds(ctx, d) {
		return nil
	}
	if len(module) > MaxModule {
		return fmt.Errorf("prepared module has %s, more than the %s that are compiled; make it smaller", bytesText(int64(len(module))), bytesText(MaxModule))
	}
	if err := c.queue.acquire(ctx, tenant); err != nil {
		return err
	}
	defer c.queue.release(tenant)
	if c.holds(ctx, d) {
		return nil // whoever was before us has made it
	}
	return c.remake(ctx, tenant, module, d)
}

// holds reports whether the cache has sound code of d. What is not sound is discarded.
func (c *Compiler) holds(ctx context.Context, d digest) bool {
	err := c.store.verify(d)
	switch {
	case err == nil:
		return true
	case errors.Is(err, os.ErrNotExist):
	default:
		c.cfg.Logger.WarnContext(ctx, "cached code is damaged and is made anew", "module", d.String(), "error", err)
		if err := c.store.discard(d); err != nil {
			c.cfg.Logger.WarnContext(ctx, "damaged code cannot be removed", "module", d.String(), "error", err)
		}
	}
	return false
}

// remake compiles into a folder of its own, and moves what is there into the cache.
func (c *Compiler) remake(ctx context.Context, tenant string, module []byte, d digest) (err error) {
	stage, err := c.store.stage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	began := time.Now()
	if len(c.cfg.Command) == 0 {
		err = build(ctx, stage, c.store.engine, module)
	} else {
		err = c.spawn(ctx, stage, module)
	}
	if err != nil {
		return err
	}
	size, err := c.store.install(stage, d)
	if err != nil {
		return fmt.Errorf("put code of module %s into the cache: %w", d, err)
	}
	c.cfg.Logger.DebugContext(ctx, "module compiled", "tenant", tenant, "module", d.String(),
		"module_bytes", len(module), "code_bytes", size, "took", time.Since(began))
	if c.added.Add(size) > c.cfg.MaxBytes/8 {
		if err := c.Clean(ctx); err != nil {
			c.cfg.Logger.WarnContext(ctx, "code cache cannot be cleaned", "error", err)
		}
	}
	return nil
}

// Load returns module, compiled, for rt, which was built with [RuntimeConfig] and
// [Compiler.Cache]. It is [Compiler.Compile] and what it returns, and then the cache
// and nothing else: with a folder the engine never compiles in this process. Code that
// is damaged, foreign, or removed meanwhile is made anew, once.
func (c *Compiler) Load(ctx context.Context, rt wazero.Runtime, tenant string, module []byte) (wazero.CompiledModule, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if c.store == nil {
		return compileModule(ctx, rt, module)
	}
	d := digest(sha256.Sum256(module))
	c.pin(d, 1)
	defer c.pin(d, -1)
	var problem error
	for range 2 {
		if err := c.compile(ctx, tenant, module, d); err != nil {
			return nil, err
		}
		loaded, err := compileModule(onlyCached(ctx), rt, module)
		if err == nil {
			c.store.touch(d)
			return loaded, nil
		}
		problem = err
		c.cfg.Logger.WarnContext(ctx, "cached code cannot be loaded and is made anew", "module", d.String(), "error", err)
		if err := c.store.discard(d); err != nil {
			return nil, errors.Join(problem, err)
		}
	}
	return nil, fmt.Errorf("load code of module %s from %s: %w", d, filepath.Base(c.store.root), problem)
}

// pin keeps the code of d from being cleaned away, or lets it go.
func (c *Compiler) pin(d digest, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := d.String()
	if c.pins[key] += by; c.pins[key] == 0 {
		delete(c.pins, key)
	}
}

func (c *Compiler) pinned(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pins[key] > 0
}

// onlyCached returns a context with which the engine takes code from its cache but
// does not compile: workers of a compilation look at the context before each function,
// the path through the cache does not look at it.
func onlyCached(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	cancel(errMiss)
	return experimental.WithCompilationWorkers(ctx, 2)
}
