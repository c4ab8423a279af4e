// Package acmetest tests the certificates of real nodes: with a real ACME authority, with
// scanners and with a browser. It knows a node's flags, what its commands print and what
// clients see, and nothing of its inside.
package acmetest
