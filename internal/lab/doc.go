// Package lab runs nodes as processes of the real binary, for tests of what goes wrong
// between them: a lab's nodes can be killed, paused, cut off from each other, started
// again, run out of disk, and have clocks that are wrong. It knows a node's flags and
// files, and nothing of its inside.
//
// A package that uses it calls [Main] from its TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
package lab
