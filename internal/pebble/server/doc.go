// Package server pins the version of Pebble, an ACME server for tests, and of its
// challenge server, which package pebble builds and runs. It is a module of its own so
// that the product does not depend on them.
package server
