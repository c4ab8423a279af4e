package wasm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

// The WebAssembly core specification's tests, as wazero's module carries them: each
// script runs with its modules as they are and prepared, and must do the same.

type script struct{ Commands []command }

type command struct {
	Type, Name, As, Filename string
	Line                     int
	ModuleType               string `json:"module_type"`
	Action                   struct {
		Type, Field, Module string
		Args                []specValue
	}
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// words returns the value as wazero takes it.
func (v specValue) words() []uint64 {
	lanes, ok := v.Value.([]any)
	if !ok {
		s, _ := v.Value.(string)
		n := number(s, v.Type)
		if v.Type == "externref" && s != "null" { // wazero's null is 0
			n++
		}
		return []uint64{n}
	}
	words := make([]uint64, 2)
	width := 128 / len(lanes)
	for i, l := range lanes {
		n := number(l.(string), v.LaneType)
		words[i*width/64] |= n & (math.MaxUint64 >> (64 - width)) << (i * width % 64)
	}
	return words
}

func number(s, typ string) uint64 {
	switch {
	case strings.HasPrefix(s, "nan") && strings.HasSuffix(typ, "32"):
		return 0x7fc00000
	case strings.HasPrefix(s, "nan"):
		return 0x7ff8000000000000
	case strings.HasPrefix(s, "-"):
		n, _ := strconv.ParseInt(s, 10, 64)
		if strings.HasSuffix(typ, "32") {
			return uint64(uint32(n))
		}
		return uint64(n)
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// world is where a script's modules live: plain, or prepared.
type world struct {
	*engine
	plain   bool
	parted  bool // a refused module may have changed what others see
	modules map[string]api.Module
	last    api.Module
}

func newWorld(t *testing.T, cfg wazero.RuntimeConfig, plain bool, host []byte) *world {
	b := plenty
	b.slice, b.stack = 500, 64<<20
	w := &world{engine: newEngine(t, cfg, b), plain: plain, modules: map[string]api.Module{}}
	if _, err := w.InstantiateWithConfig(t.Context(), host, wazero.NewModuleConfig().WithName("spectest")); err != nil {
		t.Fatal(err)
	}
	return w
}

// load makes an instance and remembers it, or that there is none.
func (w *world) load(ctx context.Context, b []byte, name, as string) error {
	var m api.Module
	var err error
	if w.plain {
		m, err = w.InstantiateWithConfig(ctx, b, wazero.NewModuleConfig().WithName(as).WithStartFunctions())
	} else {
		var p *wasm.Prepared
		if p, err = wasm.Prepare(b, wasm.Rules{}); err == nil {
			m, err = w.start(ctx, p, as)
		}
	}
	if err != nil {
		m = nil
	}
	w.last = m
	if name != "" {
		w.modules[name] = m
	}
	return err
}

func (w *world) module(name string) api.Module {
	if name == "" {
		return w.last
	}
	return w.modules[name]
}

// act does what an action says and describes the outcome.
func (w *world) act(ctx context.Context, c *command) string {
	m := w.module(c.Action.Module)
	if c.Action.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get())
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.words()...)
	}
	f := m.ExportedFunction(c.Action.Field)
	results, err := f.Call(ctx, args...)
	if err != nil {
		return trap(err)
	}
	return describe(results, f.Definition().ResultTypes())
}

func trap(err error) string {
	if errors.Is(err, errSpent) {
		return "stack overflow"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(line, "wasm error: ")
}

// describe prints results so that two that are equally right are equal: not-a-number
// has many forms, references are addresses.
func describe(results []uint64, types []api.ValueType) string {
	var b strings.Builder
	for _, t := range types {
		n := results[0]
		switch results = results[1:]; t {
		case api.ValueTypeI32:
			fmt.Fprint(&b, uint32(n), " ")
		case api.ValueTypeF32:
			fmt.Fprint(&b, float32Bits(uint32(n)), " ")
		case api.ValueTypeF64:
			fmt.Fprint(&b, float64Bits(n), " ")
		case 0x7b: // v128
			fmt.Fprint(&b, vectorBits(n), vectorBits(results[0]), " ")
			results = results[1:]
		case 0x70: // funcref
			fmt.Fprint(&b, n != 0, " ")
		default:
			fmt.Fprint(&b, n, " ")
		}
	}
	return b.String()
}

func float32Bits(n uint32) uint32 {
	if f := math.Float32frombits(n); f != f {
		return 0x7fc00000
	}
	return n
}

func float64Bits(n uint64) uint64 {
	if f := math.Float64frombits(n); f != f {
		return 0x7ff8000000000000
	}
	return n
}

func vectorBits(n uint64) uint64 {
	n = float64Bits(n)
	return uint64(float32Bits(uint32(n>>32)))<<32 | uint64(float32Bits(uint32(n)))
}

// tally counts what a run of the scripts saw.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// specDir returns the folder of the specification's tests in wazero's module.
func specDir(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest")
}

func specScripts(t *testing.T) (files []string, host []byte) {
	t.Helper()
	dir := specDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "v[12]/testdata/*.json"))
	if err != nil || len(files) < 200 {
		t.Fatalf("%d scripts in %s, %v", len(files), dir, err)
	}
	if host, err = os.ReadFile(filepath.Join(dir, "testdata/spectest.wasm")); err != nil {
		t.Fatal(err)
	}
	return files, host
}

func TestSpecification(t *testing.T) {
	files, host := specScripts(t)
	for name, cfg := range map[string]wazero.RuntimeConfig{
		"compiler": wazero.NewRuntimeConfigCompiler(), "interpreter": wazero.NewRuntimeConfigInterpreter(),
	} {
		files := files
		if name == "compiler" { // version 2.0's are nearly all of 1.0's, and more
			files = slices.DeleteFunc(slices.Clone(files), func(f string) bool { return strings.Contains(f, "/v1/") })
		}
		t.Run(name, func(t *testing.T) {
			c := &tally{counts: map[string]int{}}
			t.Run("scripts", func(t *testing.T) {
				for _, f := range files {
					t.Run(filepath.Base(filepath.Dir(filepath.Dir(f)))+"/"+filepath.Base(f), func(t *testing.T) {
						t.Parallel()
						runScript(t, f, cfg, host, c)
					})
				}
			})
			t.Log(c.counts)
			if c.counts["same"] < 45_000 {
				t.Errorf("only %d actions were compared", c.counts["same"])
			}
		})
	}
}

func runScript(t *testing.T, file string, cfg wazero.RuntimeConfig, host []byte, c *tally) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	plain, prepared := newWorld(t, cfg, true, host), newWorld(t, cfg, false, host)
	for i := range s.Commands {
		cmd := &s.Commands[i]
		as := ""
		if i+1 < len(s.Commands) && s.Commands[i+1].Type == "register" {
			as = s.Commands[i+1].As
		}
		switch {
		case cmd.Type == "register", cmd.ModuleType == "text":
		case cmd.Filename != "":
			compareModule(t, cmd, filepath.Dir(file), as, plain, prepared, c)
		default:
			compareAction(t, cmd, plain, prepared, c)
		}
	}
}

func compareModule(t *testing.T, cmd *command, dir, as string, plain, prepared *world, c *tally) {
	b, err := os.ReadFile(filepath.Join(dir, cmd.Filename))
	if err != nil {
		t.Fatal(err)
	}
	was := []api.Module{plain.last, prepared.last}
	want, got := plain.load(t.Context(), b, cmd.Name, as), prepared.load(t.Context(), b, cmd.Name, as)
	if cmd.Type != "module" { // the next actions are for the module before
		plain.last, prepared.last = was[0], was[1]
	}
	var refused *wasm.RefusedError
	if errors.As(got, &refused) && !strings.HasSuffix(refused.What, `from "spectest", and none is offered: define it in the module`) {
		prepared.parted = true
	}
	switch {
	case want == nil && got == nil:
		c.add("modules accepted")
	case want != nil && got != nil:
		c.add("modules refused by both")
	case want != nil:
		t.Errorf("%s, line %d: %v as it is, but accepted when prepared", cmd.Filename, cmd.Line, want)
	case errors.As(got, &refused):
		words := strings.Fields(refused.What)
		c.add("policy: " + strings.Join(words[:3], " "))
	case strings.Contains(got.Error(), "not instantiated") || strings.Contains(got.Error(), "not exported"):
		c.add("imports from a refused module")
	default:
		t.Errorf("%s, line %d: prepared: %v", cmd.Filename, cmd.Line, got)
	}
}

func compareAction(t *testing.T, cmd *command, plain, prepared *world, c *tally) {
	if plain.module(cmd.Action.Module) == nil {
		t.Errorf("line %d: no module", cmd.Line)
		return
	}
	want := plain.act(t.Context(), cmd)
	if prepared.module(cmd.Action.Module) == nil {
		c.add("actions on a refused module")
		return
	}
	switch got := prepared.act(t.Context(), cmd); {
	case got == want:
		c.add("same")
	case prepared.parted:
		c.add("actions on what a refused module shares")
	default:
		t.Errorf("line %d: %s gives %s, want %s", cmd.Line, cmd.Action.Field, got, want)
	}
}
