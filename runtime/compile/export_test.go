package compile

// Root returns the folder of the engine's code.
func Root(c *Compiler) string { return c.store.root }

// Index returns the path of the entry of module, Code that of its machine code.
func Index(c *Compiler, module []byte) string { return c.store.index(sum(string(module))) }

// Code returns the path of module's machine code.
func Code(c *Compiler, module []byte) string {
	e, err := readEntry(Index(c, module))
	if err != nil {
		panic(err)
	}
	return c.store.code(e)
}
