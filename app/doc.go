// Package app is what a person writes: orla.toml, routes.toml, the modules and
// the folders that they name. It reads them strictly, tells every problem with
// file and line, and packs them into a release. It knows no nodes.
package app
