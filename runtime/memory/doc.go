// Package memory provides the linear memories of instances: private mappings of an
// image, which can be made equal to the image again at the cost of the pages that
// were written to. It knows neither WebAssembly nor the engine that runs it.
//
// On Linux an [Image] is a memfd, and a [Memory] maps it copy-on-write. What was
// written to is found by the kernel's page tables: see [Method]. Elsewhere memories
// begin as copies of the image and cannot be reset.
package memory
