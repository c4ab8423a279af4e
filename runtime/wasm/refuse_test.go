package wasm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/orla-edge/orla/runtime/wasm"
)

func TestPrepareRefuses(t *testing.T) {
	one := func(code string) module {
		return module{types: []string{void}, funcs: []fn{{code: code}}}
	}
	section := func(s string) []byte { return []byte(header + s) }
	with := func(change func(*module)) []byte {
		m := one("")
		change(&m)
		return m.bytes()
	}
	deep := strings.Repeat("\x02\x40", 60_000) + strings.Repeat("\x0b", 60_000)
	for name, c := range map[string]struct {
		module []byte
		words  string
	}{
		"500 million locals":        {module{types: []string{void}, funcs: []fn{{locals: "\x01" + leb(500_000_000) + "\x7f"}}}.bytes(), "500000000 locals"},
		"locals in every function":  {module{types: []string{void}, funcs: fnTimes(fn{locals: "\x01" + leb(50_000) + "\x7f"}, 201)}.bytes(), "locals and parameters of functions"},
		"a function of 4 G types":   {section("\x01\x07\x01\x60\xff\xff\xff\xff\x0f"), "4294967295 elements announced"},
		"a billion types":           {section("\x01\x05\x80\x94\xeb\xdc\x03"), "1000000000 elements announced"},
		"a billion functions":       {section("\x03\x05\x80\x94\xeb\xdc\x03"), "1000000000 elements announced"},
		"a huge table":              {section("\x04\x08\x01\x70\x00\xff\xff\xff\xff\x07"), "2147483647 table elements"},
		"many tables":               {section("\x04" + str(vec(times("\x70\x00\x00", 33)))), "33 tables"},
		"a huge memory":             {section("\x05\x06\x01\x00\x81\x80\x04\x00"), "65537 pages"},
		"two memories":              {section("\x05\x05\x02\x00\x01\x00\x01"), "multiple memories"},
		"nested blocks":             {one(deep).bytes(), "blocks in each other"},
		"too many parameters":       {module{types: []string{leb(1001) + strings.Repeat("\x7f", 1001) + "\x00"}}.bytes(), "1001 parameters"},
		"a section twice":           {section("\x01\x01\x00\x01\x01\x00"), "out of order"},
		"sections out of order":     {section("\x03\x01\x00\x01\x01\x00"), "out of order"},
		"a section that is longer":  {section("\x01\x02\x00\x00"), "bytes too many"},
		"functions without code":    {section("\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00"), "1 functions, 0 of them with code"},
		"a type that is not there":  {module{types: []string{void}, funcs: []fn{{typ: 1}}}.bytes(), "type 1 of 1"},
		"a call too far":            {one("\x10\x01").bytes(), "function 1 of 1"},
		"the fuel, by index":        {one("\x23\x00\x1a").bytes(), "global 0 of 0"},
		"the fuel's local":          {one("\x20\x00\x1a").bytes(), "local 0 of 0"},
		"visit, by index":           {with(func(m *module) { m.exports = []string{exportFunc("f", 1)} }), "function 1 of 1"},
		"a branch too far":          {one("\x0c\x02").bytes(), "a branch out of 2"},
		"code after the end":        {one("\x0b\x01").bytes(), "after the function's end"},
		"a memory from outside":     {with(func(m *module) { m.imports = []string{str("env") + str("memory") + "\x02\x00\x01"} }), `imports a memory, "memory" from "env"`},
		"a table from outside":      {with(func(m *module) { m.imports = []string{str("env") + str("t") + "\x01\x70\x00\x01"} }), "imports a table"},
		"a global from outside":     {with(func(m *module) { m.imports = []string{str("env") + str("g") + "\x03\x7f\x00"} }), "imports a global"},
		"visit, by name":            {with(func(m *module) { m.imports = []string{importFunc("orla", "visit", 0)} }), "reserved"},
		"a reserved module":         {with(func(m *module) { m.imports = []string{importFunc("orla:x", "y", 0)} }), "reserved"},
		"a reserved export":         {with(func(m *module) { m.exports = []string{exportFunc("orla:start", 0)} }), "reserved"},
		"an export twice":           {with(func(m *module) { m.exports = []string{exportFunc("f", 0), exportFunc("f", 0)} }), "twice"},
		"start with parameters":     {with(func(m *module) { m.types = []string{i32s}; m.funcs[0] = fn{code: "\x20\x00"}; m.start = "\x00" }), "start function with parameters"},
		"data outside":              {with(func(m *module) { m.memory = "\x00\x01"; m.data = []string{"\x00\x41" + sleb(65535) + "\x0b\x02ab"} }), "ends at byte 65537"},
		"data without memory":       {with(func(m *module) { m.data = []string{"\x00\x41\x00\x0b\x01a"} }), "no memory"},
		"computed data offset":      {with(func(m *module) { m.memory = "\x00\x01"; m.data = []string{"\x00\x41\x00\x41\x00\x6a\x0b\x01a"} }), "extended constant"},
		"data by an i64":            {with(func(m *module) { m.memory = "\x00\x01"; m.data = []string{"\x00\x42\x00\x0b\x01a"} }), "not an i32.const"},
		"wrong data count":          {with(func(m *module) { m.memory = "\x00\x01"; m.count = "\x02"; m.data = []string{"\x01\x01a"} }), "2 data segments announced, 1"},
		"an unannounced segment":    {with(func(m *module) { m.funcs[0].code = "\xfc\x09\x00"; m.data = []string{"\x01\x01a"} }), "data count"},
		"an exception":              {one("\x08\x00").bytes(), wasm.Exceptions},
		"a tail call":               {one("\x12\x00").bytes(), wasm.TailCalls},
		"a call by reference":       {one("\x14\x00").bytes(), wasm.FunctionReferences},
		"an atomic":                 {one("\xfe\x03\x00").bytes(), wasm.Threads},
		"a struct":                  {one("\xfb\x00\x00").bytes(), wasm.GC},
		"relaxed vectors":           {one("\xfd\x80\x02").bytes(), wasm.RelaxedSIMD},
		"wide arithmetic":           {one("\xfc\x13").bytes(), wasm.WideArithmetic},
		"an opcode that is nothing": {one("\xff").bytes(), "opcode 0xff"},
	} {
		_, err := wasm.Prepare(c.module, wasm.Rules{})
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want …%s…", name, err, c.words)
			continue
		}
		var feature *wasm.FeatureError
		var limit *wasm.LimitError
		var refused *wasm.RefusedError
		if !errors.As(err, &feature) && !errors.As(err, &limit) && !errors.As(err, &refused) && !errors.Is(err, wasm.ErrMalformed) {
			t.Errorf("%s: %v is of no documented kind", name, err)
		}
	}
	if _, err := wasm.Prepare(one("").bytes(), wasm.Rules{}); err != nil {
		t.Errorf("the module that the others are made from: %v", err)
	}
}

func times(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

func fnTimes(f fn, n int) []fn {
	all := make([]fn, n)
	for i := range all {
		all[i] = f
	}
	return all
}
