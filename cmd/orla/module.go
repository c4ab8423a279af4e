package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/runtime"
)

func moduleCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:     "module",
		Short:   "Look into WebAssembly modules",
		Example: "  orla module inspect api.wasm",
	}, moduleInspect(c))
}

func moduleInspect(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE.wasm", Short: "Show a module's ABI, imports, exports, sizes, and the time to compile it", Args: exact("FILE.wasm"),
		Long: `Compile a module and make an instance of it, as a deploy would, and show what it
is. A module that a node would refuse is refused here, with the same reason. No
node is asked.`,
		Example: "  orla module inspect api.wasm\n  orla module inspect api.wasm --json",
	}
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		b, err := readModule(args[0])
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		engine, err := runtime.New(ctx, runtime.Config{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, engine.Close(ctx)) }()
		info, refused := engine.Inspect(ctx, b)
		if err := c.module(args[0], moduleOf(info, refused), asJSON); err != nil {
			return err
		}
		if refused != nil {
			return fmt.Errorf("%s: %w", args[0], refused)
		}
		return nil
	}
	return cmd
}

// readModule reads a file, but no more of it than a node would.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, runtime.MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	return b, nil
}

type moduleShape struct {
	Digest    string         `json:"digest"`
	Size      int            `json:"size"`
	ABI       string         `json:"abi"`
	Functions int            `json:"functions"`
	Memory    *memoryShape   `json:"memory"` // null without a memory
	Imports   []importShape  `json:"imports"`
	Exports   []exportShape  `json:"exports"`
	Features  []string       `json:"features"`
	Sections  []sectionShape `json:"sections"`
	CompileMs float64        `json:"compileMs"`
	InitMs    float64        `json:"initMs"`
	Refused   string         `json:"refused"` // empty if a node runs it
}

// memoryShape has bytes; max is 0 if the module sets none.
type memoryShape struct {
	Min         int64 `json:"min"`
	Max         int64 `json:"max"`
	Initialised int64 `json:"initialised"`
}

type importShape struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`
}

type exportShape struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

type sectionShape struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

const wasmPage = 64 << 10

func moduleOf(info runtime.Info, refused error) moduleShape {
	s := moduleShape{
		Digest: info.Digest.String(), Size: info.Size, ABI: abiName(info.ABI), CompileMs: ms(info.Compile), InitMs: ms(info.Init),
		Imports: []importShape{}, Exports: []exportShape{}, Features: []string{}, Sections: []sectionShape{},
	}
	if refused != nil {
		s.Refused = refused.Error()
	}
	m := info.Module
	if m == nil {
		return s
	}
	s.Functions, s.Features = m.Functions, orEmpty(m.Features)
	if m.Memory != nil {
		s.Memory = &memoryShape{Min: int64(m.Memory.Min) * wasmPage, Initialised: info.Memory}
		if m.Memory.HasMax {
			s.Memory.Max = int64(m.Memory.Max) * wasmPage
		}
	}
	for _, i := range m.Imports {
		s.Imports = append(s.Imports, importShape{Module: i.Module, Name: i.Name, Kind: i.Kind.String()})
	}
	for _, e := range m.Exports {
		s.Exports = append(s.Exports, exportShape{Name: e.Name, Kind: e.Kind.String()})
	}
	for _, sec := range m.Sections {
		s.Sections = append(s.Sections, sectionShape{Name: sec.Name, Size: sec.Size})
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c *console) module(path string, s moduleShape, asJSON bool) error {
	if asJSON {
		return c.json(s)
	}
	rows := [][]string{
		{"file", path},
		{"digest", s.Digest},
		{"size", humanize.IBytes(uint64(s.Size))},
		{"abi", s.ABI},
		{"functions", fmt.Sprint(s.Functions)},
		{"memory", memoryText(s.Memory)},
	}
	for _, from := range importsBy(s.Imports) {
		rows = append(rows, []string{"imports", from})
	}
	var exports []string
	for _, e := range s.Exports {
		exports = append(exports, e.Name)
	}
	rows = append(rows, []string{"exports", strings.Join(exports, " ")})
	if len(s.Features) > 0 {
		rows = append(rows, []string{"features", strings.Join(s.Features, " ")})
	}
	if s.Refused == "" {
		rows = append(rows, []string{"compile", fmt.Sprintf("%.0f ms", s.CompileMs)}, []string{"first start", fmt.Sprintf("%.1f ms", s.InitMs)})
	}
	for _, r := range rows {
		if err := c.printf("%-12s %s\n", r[0], plain(r[1])); err != nil {
			return err
		}
	}
	return nil
}

func memoryText(m *memoryShape) string {
	if m == nil {
		return "none"
	}
	text := humanize.IBytes(uint64(m.Min)) + " at start"
	if m.Initialised > 0 {
		text += ", " + humanize.IBytes(uint64(m.Initialised)) + " when initialised"
	}
	if m.Max > 0 {
		return text + ", " + humanize.IBytes(uint64(m.Max)) + " at most by itself"
	}
	return text + ", no limit of its own"
}

// importsBy returns a line for each module that things are imported from, with
// each name once.
func importsBy(imports []importShape) []string {
	var order []string
	names := make(map[string][]string)
	for _, i := range imports {
		if !slices.Contains(order, i.Module) {
			order = append(order, i.Module)
		}
		if !slices.Contains(names[i.Module], i.Name) {
			names[i.Module] = append(names[i.Module], i.Name)
		}
	}
	for i, m := range order {
		order[i] = m + ": " + strings.Join(names[m], " ")
	}
	return order
}
