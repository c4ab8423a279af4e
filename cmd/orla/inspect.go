package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/orla-edge/orla/runtime"
)

type moduleShape struct {
	Digest    string         `json:"digest"`
	Size      int            `json:"size"`
	Prepared  int            `json:"prepared"` // bytes of what is compiled; 0 if it was not got to
	ABI       string         `json:"abi"`
	Functions int            `json:"functions"`
	Memory    *memoryShape   `json:"memory"` // null without a memory
	Tables    []tableShape   `json:"tables"`
	Imports   []importShape  `json:"imports"`
	Exports   []exportShape  `json:"exports"`
	Features  []string       `json:"features"`
	Sections  []sectionShape `json:"sections"`
	Reset     resetShape     `json:"reset"`
	PrepareMs float64        `json:"prepareMs"`
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

// tableShape has elements; max is 0 if the module sets none.
type tableShape struct {
	Min uint32 `json:"min"`
	Max uint32 `json:"max"`
}

// resetShape says how an instance becomes clean for the next request.
type resetShape struct {
	Possible bool `json:"possible"`
	// Why not; empty if it is possible.
	Why string `json:"why"`
	// Method is how this machine finds the memory that was written to.
	Method string `json:"method"`
	// InstanceMs is the time to make an instance, Ms to make a used one clean.
	InstanceMs float64 `json:"instanceMs"`
	// Forked says that instances wait where the program fetches its request.
	Forked bool    `json:"forked"`
	Ms     float64 `json:"ms"`
}

type importShape struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	// Capability is what it is for; empty for what no ABI offers.
	Capability string `json:"capability"`
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
		Digest: info.Digest.String(), Size: info.Size, Prepared: info.Prepared, ABI: abiName(info.ABI),
		PrepareMs: ms(info.Prepare), CompileMs: ms(info.Compile), InitMs: ms(info.Init),
		Reset: resetShape{
			Possible: refused == nil && info.Irreproducible == "", Why: info.Irreproducible, Method: info.Method,
			InstanceMs: ms(info.Instance), Forked: info.Forked, Ms: ms(info.Reset),
		},
		Tables: []tableShape{}, Imports: []importShape{}, Exports: []exportShape{}, Features: []string{}, Sections: []sectionShape{},
	}
	if refused != nil {
		s.Refused = refused.Error()
	}
	if info.Module != nil {
		s.declare(info)
	}
	return s
}

// declare adds what the module says of itself.
func (s *moduleShape) declare(info runtime.Info) {
	m := info.Module
	s.Functions, s.Features = m.Functions, orEmpty(m.Features)
	if m.Memory != nil {
		s.Memory = &memoryShape{Min: int64(m.Memory.Min) * wasmPage, Initialised: info.Memory}
		if m.Memory.HasMax {
			s.Memory.Max = int64(m.Memory.Max) * wasmPage
		}
	}
	for _, t := range m.Tables {
		shape := tableShape{Min: t.Min}
		if t.HasMax {
			shape.Max = t.Max
		}
		s.Tables = append(s.Tables, shape)
	}
	for _, i := range m.Imports {
		s.Imports = append(s.Imports, importShape{i.Module, i.Name, i.Kind.String(), runtime.Capability(i.Module, i.Name)})
	}
	for _, e := range m.Exports {
		s.Exports = append(s.Exports, exportShape{Name: e.Name, Kind: e.Kind.String()})
	}
	for _, sec := range m.Sections {
		s.Sections = append(s.Sections, sectionShape{Name: sec.Name, Size: sec.Size})
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c *console) module(path string, s moduleShape, asJSON bool) error {
	if asJSON {
		return c.json(s)
	}
	size := humanize.IBytes(uint64(s.Size))
	if s.Prepared > 0 {
		size += ", " + humanize.IBytes(uint64(s.Prepared)) + " prepared"
	}
	rows := [][]string{
		{"file", path},
		{"digest", s.Digest},
		{"size", size},
		{"abi", s.ABI},
		{"functions", strconv.Itoa(s.Functions)},
		{"memory", memoryText(s.Memory)},
	}
	for _, t := range s.Tables {
		rows = append(rows, []string{"table", tableText(t)})
	}
	for _, line := range importsBy(s.Imports) {
		rows = append(rows, []string{"imports", line})
	}
	if slices.ContainsFunc(s.Imports, func(i importShape) bool { return i.Capability == "kv" }) {
		rows = append(rows, []string{"asks for", `kv: name the stores in the function's table of orla.toml, kv = ["sessions"]`})
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
		rows = append(rows, s.costs()...)
	}
	for _, r := range rows {
		if err := c.printf("%-12s %s\n", r[0], plain(r[1])); err != nil {
			return err
		}
	}
	return nil
}

// costs tells what a node spends on the module: once, and for each request.
func (s moduleShape) costs() [][]string {
	rows := [][]string{
		{"prepare", millis(s.PrepareMs)},
		{"compile", millis(s.CompileMs)},
		{"first start", millis(s.InitMs)},
	}
	if !s.Reset.Possible {
		return append(rows, []string{"reset", "no: " + s.Reset.Why + "; every request starts an instance of its own"})
	}
	if s.Reset.Forked {
		return append(rows,
			[]string{"instance", millis(s.Reset.InstanceMs)},
			[]string{"reset", "to where it fetches its request, by " + s.Reset.Method})
	}
	return append(rows,
		[]string{"instance", millis(s.Reset.InstanceMs)},
		[]string{"reset", "from " + millis(s.Reset.Ms) + " by " + s.Reset.Method + ", more with what a request has written to"})
}

// millis writes milliseconds with at least three digits, and no more than are true.
func millis(v float64) string {
	digits := 3
	for limit := 1.0; v >= limit && digits > 0; limit *= 10 {
		digits--
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " ms"
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

func tableText(t tableShape) string {
	text := plural(uint64(t.Min), "element") + " at start"
	if t.Max > 0 {
		return text + ", " + plural(uint64(t.Max), "element") + " at most by itself"
	}
	return text + ", no limit of its own"
}

// importsBy returns a line for each thing that imports are for, with each function
// once; what no ABI offers comes first, by its full name.
func importsBy(imports []importShape) []string {
	names := make(map[string][]string)
	for _, i := range imports {
		name := i.Name
		if i.Capability == "" {
			name = i.Module + "." + name
		}
		if !slices.Contains(names[i.Capability], name) {
			names[i.Capability] = append(names[i.Capability], name)
		}
	}
	var lines []string
	if unknown := names[""]; unknown != nil {
		lines = append(lines, "not offered: "+strings.Join(unknown, " "))
	}
	delete(names, "")
	for _, capability := range slices.Sorted(maps.Keys(names)) {
		lines = append(lines, capability+": "+strings.Join(names[capability], " "))
	}
	return lines
}
