package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/runtime/wasm"
)

// check reads the ABI from a compiled module's imports and exports.
func (e *Engine) check(c *code) (orlav1.Abi, error) {
	if err := e.checkSignatures(c); err != nil {
		return 0, err
	}
	exports := c.mod.ExportedFunctions()
	handler, command := exports[httpwasm.HandleRequest], exports["_start"]
	switch {
	case handler != nil:
		if !is(handler, nil, []api.ValueType{api.ValueTypeI64}) {
			return 0, moduleError("exports %s with another signature than the http-wasm handler ABI's () -> i64", httpwasm.HandleRequest)
		}
		if r := exports[httpwasm.HandleResponse]; r != nil && !is(r, []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, nil) {
			return 0, moduleError("exports %s with another signature than the http-wasm handler ABI's (i32, i32) -> ()", httpwasm.HandleResponse)
		}
		return orlav1.Abi_ABI_HTTP_WASM, needMemory(c)
	case c.decl.ImportsFrom(httpwasm.Module):
		return 0, moduleError("imports %s but does not export %s; in Go, call guest.Handle in func init and build with -buildmode=c-shared",
			httpwasm.Module, httpwasm.HandleRequest)
	case command != nil:
		if !is(command, nil, nil) {
			return 0, moduleError("exports _start with parameters or results, which a wasip1 command has not")
		}
		return orlav1.Abi_ABI_CGI, needMemory(c)
	}
	return 0, moduleError("exports neither _start (a wasip1 command, run as CGI) nor %s (an http-wasm handler); it exports %s",
		httpwasm.HandleRequest, exported(c.decl))
}

func is(f api.FunctionDefinition, params, results []api.ValueType) bool {
	return slices.Equal(f.ParamTypes(), params) && slices.Equal(f.ResultTypes(), results)
}

// needMemory refuses a module whose memory the host functions could not reach.
func needMemory(c *code) error {
	if c.decl.Memory == nil && len(c.decl.Imports) > 0 {
		return moduleError("has no memory, which every ABI needs")
	}
	return nil
}

func exported(m *wasm.Module) string {
	var names []string
	for _, x := range m.Exports {
		if x.Kind == wasm.Func && len(names) < 10 {
			names = append(names, x.Name)
		}
	}
	if len(names) == 0 {
		return "no function"
	}
	return strings.Join(names, ", ")
}

// checkImports refuses what no ABI offers, naming all of it.
func (e *Engine) checkImports(m *wasm.Module) error {
	var missing []string
	hint := ""
	for _, i := range m.Imports {
		if i.Kind != wasm.Func || e.offered[i.Module][i.Name] == nil {
			missing = append(missing, i.Module+"."+i.Name)
			if hint == "" {
				hint = importHint(i)
			}
		}
	}
	if len(missing) > 0 {
		if more := len(missing) - 5; more > 0 {
			missing = append(missing[:5], fmt.Sprintf("%d more", more))
		}
		return moduleError("imports %s, which no ABI offers; there are CGI (%s) and http-wasm (%s)%s",
			strings.Join(missing, ", "), wasi, httpwasm.Module, hint)
	}
	return nil
}

// checkSignatures refuses imports with other types than those that are offered.
func (e *Engine) checkSignatures(c *code) error {
	for _, f := range c.mod.ImportedFunctions() {
		module, name, _ := f.Import()
		if module == wasm.HostModule {
			continue // ours
		}
		if want := e.offered[module][name]; !is(f, want.ParamTypes(), want.ResultTypes()) {
			return moduleError("imports %s.%s with another signature than the ABI's; build it with a newer toolchain", module, name)
		}
	}
	return nil
}

// importHint says what the usual reason for an import is, and what to do.
func importHint(i wasm.Import) string {
	switch {
	case i.Module == "gojs" || i.Module == "go":
		return "; it was built with GOOS=js: build with GOOS=wasip1"
	case i.Module == "wasi_unstable":
		return "; it was built for an old WASI: build for wasm32-wasip1"
	case i.Module == "wasi" && strings.HasPrefix(i.Name, "thread"):
		return "; " + remedy(wasm.Threads)
	case strings.HasPrefix(i.Module, "__wbindgen"), strings.HasPrefix(i.Module, "wbg"):
		return "; it was built for a browser: build for wasm32-wasip1 without wasm-bindgen"
	case strings.HasPrefix(i.Module, "fastly"):
		return "; a later release of Orla will run Compute programs"
	case strings.HasPrefix(i.Module, "wasi:"):
		return "; it is the inside of a component, which a later release of Orla will run"
	case i.Module == kvModule:
		return "; " + kvModule + " has get, put, delete and list"
	case i.Module == "env" && i.Name == "abort":
		return "; if it was built by AssemblyScript's asc, add --use abort= to its flags"
	case i.Module == "env":
		return "; an import from \"env\" is usually a symbol that was not linked, or a build by Emscripten: build for wasm32-wasi"
	}
	return ""
}
