package compile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// RuntimeConfig returns the settings of the engine that code is compiled for: the
// node's one runtime and the children must agree. The caller adds the cache.
func RuntimeConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCloseOnContextDone(false). // prepared modules stop themselves
		WithDebugInfoEnabled(false).
		WithCustomSections(false)
}

// emptyModule is the smallest module there is. The engine's key of its code tells
// engines from each other.
const emptyModule = "\x00asm\x01\x00\x00\x00"

// Folders in a stage.
const (
	probeDir = "probe"
	codeDir  = "code"
	codeFile = "entry"
)

// errForeign is returned by a child that is of another engine.
var errForeign = errors.New("compile: the child is another version of the program than the node; restart the node")

// build compiles module into the folder stage: the code as the engine writes it, and
// the entry that goes into the index. The engine must be the expected one.
func build(ctx context.Context, stage, expected string, module []byte) error {
	engine, err := probe(ctx, filepath.Join(stage, probeDir))
	if err != nil {
		return err
	}
	if engine != expected {
		return errForeign
	}
	dir := filepath.Join(stage, codeDir)
	if err := compileInto(ctx, dir, module); err != nil {
		return err
	}
	path, err := only(dir)
	if err != nil {
		return err
	}
	e, err := describe(path)
	if err != nil {
		return err
	}
	return e.write(filepath.Join(stage, codeFile))
}

// probe returns what identifies this process's engine: its version, the platform and
// the CPU's features. It uses the folder dir.
func probe(ctx context.Context, dir string) (string, error) {
	if err := compileInto(ctx, dir, []byte(emptyModule)); err != nil {
		return "", fmt.Errorf("identify engine: %w", err)
	}
	path, err := only(dir)
	if err != nil {
		return "", fmt.Errorf("identify engine: %w", err)
	}
	d := sum(filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path))
	return d.String()[:16], nil
}

// compileInto compiles module with an engine of its own whose cache is dir.
func compileInto(ctx context.Context, dir string, module []byte) (err error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return fmt.Errorf("open code cache %q: %w", dir, err)
	}
	defer func() { err = errors.Join(err, cache.Close(ctx)) }()
	rt := wazero.NewRuntimeWithConfig(ctx, RuntimeConfig().WithCompilationCache(cache))
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	_, err = compileModule(ctx, rt, module)
	return err
}

// compileModule tells whose fault an error is, and turns a panic of the engine into
// one.
func compileModule(ctx context.Context, rt wazero.Runtime, module []byte) (m wazero.CompiledModule, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("compile module: engine panicked: %w\n%s", p, debug.Stack())
		default:
			err = fmt.Errorf("compile module: engine panicked: %v\n%s", p, debug.Stack())
		}
	}()
	m, err = rt.CompileModule(ctx, module)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, errMiss), errors.As(err, new(*fs.PathError)), errors.As(err, new(syscall.Errno)):
		return nil, fmt.Errorf("compile module: %w", err)
	}
	return nil, &invalidError{words: err.Error()}
}

// invalidError is an [ErrInvalid] in the engine's words.
type invalidError struct{ words string }

func (e *invalidError) Error() string {
	const enough = 500
	words := e.words
	if len(words) > enough {
		words = strings.ToValidUTF8(words[:enough], "") + "…"
	}
	return ErrInvalid.Error() + ": " + words
}

// Is reports whether target is [ErrInvalid].
func (e *invalidError) Is(target error) bool { return target == ErrInvalid }
