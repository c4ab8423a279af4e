package runtime

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/orla-edge/orla/runtime/wasm"
)

// FunctionError is a fault of a function that its author can mend.
type FunctionError struct {
	// Function is its name; empty for a lone module.
	Function string
	// Field is the part of the function that is at fault: "module", "memory",
	// "files[/app.py]".
	Field string
	// Problem says what is wrong and what to do.
	Problem string
}

// Error names function, field and problem.
func (e *FunctionError) Error() string {
	if e.Function == "" {
		return fmt.Sprintf("%s: %s", e.Field, e.Problem)
	}
	return fmt.Sprintf("function %q: %s: %s", e.Function, e.Field, e.Problem)
}

// of returns err with the function's name, if it is a fault of it.
func of(function string, err error) error {
	var f *FunctionError
	if errors.As(err, &f) && f.Function == "" {
		named := *f
		named.Function = function
		return &named
	}
	return err
}

func moduleError(format string, args ...any) error {
	return &FunctionError{Field: "module", Problem: fmt.Sprintf(format, args...)}
}

const (
	whatRuns = "build a core module: a wasip1 command, which is run as CGI, or an http-wasm handler"

	componentProblem = "is a component; a later release of Orla will run components; today, " + whatRuns
)

func tooLarge() error {
	return moduleError("has more than the %d MiB that are loaded at most; strip it (-ldflags=\"-s -w\" in Go, -s in C and Rust)", MaxModule>>20)
}

// declared reads what b declares, or says why it is no module.
func declared(b []byte) (*wasm.Module, error) {
	if len(b) > MaxModule {
		return nil, tooLarge()
	}
	switch f, looks := wasm.Sniff(b); f {
	case wasm.CoreModule:
	case wasm.Component:
		return nil, moduleError(componentProblem)
	default:
		return nil, moduleError("is not a WebAssembly module: it looks like %s", looks)
	}
	m, err := wasm.Read(b)
	var feature *wasm.FeatureError
	switch {
	case errors.As(err, &feature):
		return nil, featureProblem(feature.Feature)
	case err != nil:
		return nil, moduleError("is damaged: %v; build it again", err)
	}
	return m, nil
}

// remedy says how modules usually avoid a feature that is not offered.
func remedy(feature string) string {
	switch feature {
	case wasm.Threads:
		return "build without threads: the target wasm32-wasip1 instead of wasm32-wasip1-threads, no -pthread, no +atomics"
	case wasm.Exceptions:
		return "build without WebAssembly exceptions: -fno-exceptions in C++, panic=abort in Rust, no -fwasm-exceptions"
	case wasm.GC:
		return "compile to linear memory: languages whose WebAssembly target needs the garbage collection proposal (Kotlin/Wasm, Dart, Java) do not run here"
	case wasm.Memory64:
		return "build for wasm32 instead of wasm64"
	case wasm.Memories:
		return "build with one memory"
	}
	return "build for the features of WebAssembly 2.0, for example with -mcpu=generic"
}

func featureProblem(name string) error {
	return moduleError("needs the WebAssembly feature %q, which is not offered; %s", name, remedy(name))
}

// disabled matches what the engine says of a feature that is switched off.
var disabled = regexp.MustCompile(`feature "([a-z-]+)" is disabled`)

// prepareError turns what the prefilter says into words for the author.
func prepareError(err error, m *wasm.Module) error {
	var feature *wasm.FeatureError
	var limit *wasm.LimitError
	var refused *wasm.RefusedError
	switch {
	case errors.As(err, &feature):
		return featureProblem(feature.Feature)
	case errors.As(err, &refused):
		return moduleError("%s", refused.What)
	case errors.As(err, &limit):
		return moduleError("is larger than what is run here: %v", limit)
	}
	return invalid(err, m)
}

// invalid turns what the engine says into words for the author.
func invalid(err error, m *wasm.Module) error {
	text := err.Error()
	if found := disabled.FindStringSubmatch(text); found != nil {
		return featureProblem(found[1])
	}
	for _, f := range []struct{ proposal, said, flag string }{
		{wasm.Threads, "atomic", "atomics"},
		{wasm.Exceptions, "exception", "exception-handling"},
	} {
		if strings.Contains(text, f.said) || strings.Contains(text, "invalid") && slices.Contains(m.Features, f.flag) {
			return featureProblem(f.proposal)
		}
	}
	return moduleError("does not compile: %v", err)
}
