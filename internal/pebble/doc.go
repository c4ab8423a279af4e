// Package pebble runs a real ACME certificate authority on the loopback, for tests:
// Pebble and its challenge server, whose DNS decides where names are validated, behind a
// front that counts what is asked and can make it fail. It knows ACME (RFC 8555) as seen
// on the wire, and nothing of those who ask.
//
// The versions are those of the module in server, which is built on first use.
package pebble
