// Package compile turns prepared core modules into machine code in a child process
// with limits, and keeps the code in a bounded cache on disk. It knows the engine and
// the operating system; it does not know what modules import, who calls them, or what
// a release is.
//
// A compiler of untrusted input can be made to need minutes and gigabytes by a few
// hundred kilobytes. So the node never compiles: a child of the same program does,
// with little of everything, and if it dies the node has lost nothing. The node loads
// what the child left in the cache, and only that: see [Compiler.Load].
//
// The cache is a folder. Below it is one folder for each combination of pipeline,
// engine version, operating system, architecture and CPU features; there, the
// engine's own file cache, and beside it an index with an entry for each module:
//
//	<dir>/p1-0123456789abcdef/
//	    wazero-v1.12.0-amd64-linux/<the engine's key>
//	    index/<sha256 of the module>   the key, size and sha256 of the code
//	    stage-…/                       what a child is about to leave
//
// The engine's checksum covers the machine code alone: a wrong bit in the table of
// functions beside it is a jump into nowhere, a wrong count is an allocation that ends
// the process. So nothing is handed to the engine whose digest is not the index's.
package compile
