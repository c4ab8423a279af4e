// Package document reads a TOML file that a person wrote into a struct,
// strictly, and remembers where everything stood, so that whatever is wrong can
// be told by file and line, all of it at once. It knows nothing of apps, routes
// or nodes.
//
// A struct that is decoded into describes its table with field tags:
//
//	toml:"name"                   the key
//	jsonschema:"enum=a,enum=b"    the only values that a string may have
//	example:"\"10s\""             what a message shows as an example
//	later:"pooled"                values that are known and refused, because this
//	                              version lacks them; on a blank field: keys
package document
