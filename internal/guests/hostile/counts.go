package hostile

// most is the largest count that can be claimed.
const most = 1<<32 - 1

// counts are modules of a few bytes that claim to hold billions of something.
func counts() []Module {
	claim := u(uint32(most))
	// one type, and one function of it, for what needs either
	typed := section(secType, vec(funcType(nil, nil)))
	declared := cat(typed, section(secFunction, vec(u(0))))
	table := section(secTable, vec(cat([]byte{funcref}, limits(1))))
	body := func(code ...[]byte) []byte {
		c := cat(code...)
		return cat(declared, section(secCode, vec(cat(u(len(c)), c))))
	}
	all := []struct {
		name string
		rest []byte
	}{
		{"types", section(secType, cat(claim, []byte{0x60}))},
		{"parameters", section(secType, cat([]byte{1, 0x60}, claim, []byte{i32}))},
		{"results", section(secType, cat([]byte{1, 0x60, 0}, claim, []byte{i32}))},
		{"imports", section(secImport, cat(claim, name("a")))},
		{"bytes of an imported name", section(secImport, cat([]byte{1}, claim, []byte("a")))},
		{"functions", cat(typed, section(secFunction, cat(claim, []byte{0})))},
		{"tables", section(secTable, cat(claim, []byte{funcref, 0, 1}))},
		{"table elements", section(secTable, cat([]byte{1, funcref, 0}, claim))},
		{"table elements below a maximum", section(secTable, cat([]byte{1, funcref, 1}, claim, claim))},
		{"memories", section(secMemory, cat(claim, []byte{0, 1}))},
		{"memory pages", section(secMemory, cat([]byte{1, 0}, claim))},
		{"memory pages to four gigabytes", section(secMemory, vec(limits(65536)))},
		{"globals", section(secGlobal, cat(claim, []byte{i32, 0}, const32(0), end))},
		{"exports", section(secExport, cat(claim, name("a")))},
		{"bytes of an exported name", section(secExport, cat([]byte{1}, claim, []byte("a")))},
		{"element segments", cat(table, section(secElement, cat(claim, []byte{0})))},
		{"elements of a segment", cat(table, section(secElement, cat([]byte{1, 0}, const32(0), end, claim)))},
		{"element expressions", cat(table, section(secElement, cat([]byte{1, 4}, const32(0), end, claim)))},
		{"function bodies", cat(declared, section(secCode, cat(claim, []byte{2, 0, 0x0b})))},
		{"bytes of a body", cat(declared, section(secCode, cat([]byte{1}, claim)))},
		{"locals", body([]byte{1}, claim, []byte{i32, 0x0b})},
		{"groups of locals", body(claim, []byte{0x0b})},
		{"data segments", section(secData, cat(claim, []byte{1, 0}))},
		{"names", section(secCustom, cat(name("name"), []byte{1, 5}, claim))},
	}
	var list []Module
	for _, c := range all {
		list = append(list, Module{"count of " + c.name, cat(preamble, c.rest), Refused})
	}
	return list
}
