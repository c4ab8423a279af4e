package wasm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime/wasm"
)

// goWork builds the module without the guests package, which would compile it too.
func goWork(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "work.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", out, "./testdata/gowork")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cWork(t testing.TB) []byte {
	return guests.C(t, "runtime/wasm/testdata/work.c", "-mexec-model=reactor")
}

func prepare(t testing.TB, b []byte) *wasm.Prepared {
	t.Helper()
	p, err := wasm.Prepare(b, wasm.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// both returns an instance of the module as it is and one of it prepared, each of
// which has been initialised.
func both(t testing.TB, b []byte) (plain, prepared api.Module, e *engine) {
	t.Helper()
	r := wazero.NewRuntime(t.Context())
	t.Cleanup(func() { r.Close(t.Context()) })
	wasi_snapshot_preview1.MustInstantiate(t.Context(), r)
	plain, err := r.InstantiateWithConfig(t.Context(), b, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	e = newEngine(t, wazero.NewRuntimeConfigCompiler(), plenty)
	wasi_snapshot_preview1.MustInstantiate(t.Context(), e.Runtime)
	prepared, err = e.start(t.Context(), prepare(t, b), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []api.Module{plain, prepared} {
		if _, err := m.ExportedFunction("_initialize").Call(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return plain, prepared, e
}

func TestPreparedModulesDoTheSame(t *testing.T) {
	for name, b := range map[string][]byte{"C": cWork(t), "Go": goWork(t)} {
		t.Run(name, func(t *testing.T) {
			if p, again := prepare(t, b), prepare(t, b); !bytes.Equal(p.Code, again.Code) {
				t.Error("a second Prepare gives another module")
			}
			plain, prepared, e := both(t, b)
			for kind := range uint64(6) {
				want, err := plain.ExportedFunction("run").Call(t.Context(), kind, 20)
				if err != nil {
					t.Fatal(err)
				}
				got, err := prepared.ExportedFunction("run").Call(t.Context(), kind, 20)
				if err != nil || got[0] != want[0] {
					t.Errorf("work %d gives %v, %v, want %v", kind, got, err, want)
				}
			}
			if e.visits == 0 {
				t.Error("the engine was never visited")
			}
		})
	}
}
