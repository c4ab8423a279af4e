// Package release is a release as data: its validation, its routes as router
// routes, its digest. It does no I/O and does not know how anything in a release
// is served.
package release
