package hostile

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"     //nolint:depguard // it alone can say whether a module is valid
	"github.com/tetratelabs/wazero/api" //nolint:depguard // as above
)

// TestValid shows that the guests are what they pretend to be: all but those that are
// refused are valid handlers. The bombs are small ones here. Refused modules must never
// get to wazero: some end the process.
func TestValid(t *testing.T) {
	// The interpreter has the decoder and the validation of the compiler.
	rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer rt.Close(t.Context())
	for _, m := range slices.Concat(bombs(200), inits(), endless(), crashes(), survivors()) {
		t.Run(m.Kind.String()+"/"+m.Name, func(t *testing.T) {
			c, err := rt.CompileModule(t.Context(), m.Wasm)
			if err != nil {
				t.Fatal(err)
			}
			f := c.ExportedFunctions()["handle_request"]
			if f == nil || len(f.ParamTypes()) != 0 || !bytes.Equal(f.ResultTypes(), []byte{api.ValueTypeI64}) {
				t.Errorf("handle_request is %v", f)
			}
			if c.ExportedMemories()["memory"] == nil {
				t.Error("no memory is exported")
			}
		})
	}
}

func TestCorpus(t *testing.T) {
	all := Modules()
	seen := map[string]bool{}
	kinds := map[Kind]int{}
	for _, m := range all {
		if seen[m.Name] {
			t.Errorf("two modules are called %q", m.Name)
		}
		seen[m.Name] = true
		kinds[m.Kind]++
		if len(m.Wasm) > 1<<20 {
			t.Errorf("%s has %d bytes, want at most 1 MiB", m.Name, len(m.Wasm))
		}
	}
	for kind, least := range map[Kind]int{Refused: 40, Bomb: 12, FailsInit: 8, Deadline: 20, Crash: 20, Survives: 4} {
		if kinds[kind] < least {
			t.Errorf("%d modules are %s, want at least %d", kinds[kind], kind, least)
		}
	}
	if n := len(Of(Crash)); n != kinds[Crash] {
		t.Errorf("Of returns %d crashes of %d", n, kinds[Crash])
	}
	claims := counts()
	for _, m := range claims {
		if n := len(m.Wasm); n < 13 || n > 40 {
			t.Errorf("%s has %d bytes, want a few", m.Name, n)
		}
	}
	if len(claims) < 24 {
		t.Errorf("%d modules claim counts, want 24", len(claims))
	}
	if again := Modules(); !slices.EqualFunc(all, again, func(a, b Module) bool { return bytes.Equal(a.Wasm, b.Wasm) }) {
		t.Error("the modules differ from call to call")
	}
}

// TestOutcome runs the guests that need no host and no defence: crashes that trap, and
// those that are refused memory.
func TestOutcome(t *testing.T) {
	rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(256))
	defer rt.Close(t.Context())
	ran := 0
	for _, m := range slices.Concat(crashes(), survivors()) {
		c, err := rt.CompileModule(t.Context(), m.Wasm)
		if err != nil {
			t.Fatal(err)
		}
		// Nothing but a defence keeps table.grow from ending the process, and the
		// interpreter's stack from taking gigabytes.
		if len(c.ImportedFunctions()) > 0 || strings.HasPrefix(m.Name, "table.grow") || strings.HasPrefix(m.Name, "infinite recursion with") {
			continue
		}
		ran++
		i, err := rt.InstantiateModule(t.Context(), c, wazero.NewModuleConfig().WithName(m.Name))
		if err != nil {
			t.Errorf("instantiate %s: %v", m.Name, err)
			continue
		}
		if _, err := i.ExportedFunction(entry).Call(t.Context()); (err != nil) != (m.Kind == Crash) {
			t.Errorf("%s: %v, want %s", m.Name, err, m.Kind)
		}
	}
	if ran < 20 {
		t.Errorf("ran %d guests, want 20", ran)
	}
}
