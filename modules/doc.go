// Package modules keeps immutable bytes under their digest: wasm modules, site
// assets and release manifests alike. It knows nothing of what the bytes mean.
//
// [Dir] is the store in a local directory:
//
//	sha256/ab/cdef…  a blob, named by its digest; it appears by rename, whole or not at all
//	tmp/SESSION/     uploads of one open Dir; what a dead process left is removed at open
//	corrupt/HEX      a blob whose bytes no longer matched its name, set aside
//
// A blob that was committed but not yet made durable by [Dir.Sync] may be damaged
// by a power failure. A marker in the session's folder, made durable before the
// first such blob, tells the next [OpenDir], which then verifies what was written
// since. A small blob that is put with [Dir.PutDurable] is durable sooner: the session's
// journal has a second copy of it, from which the next OpenDir restores it.
package modules
