// Orla runs a node and talks to one: flags and environment become a node's
// configuration or a call of its API. What a node does is not known here.
package main

import "os"

// version is set by the linker: -X main.version=v1.2.3.
var version string

func main() { os.Exit(run(systemConsole(), os.Args[1:])) }
