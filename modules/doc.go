// Package modules keeps immutable bytes under their digest: wasm modules, site
// assets and release manifests alike. It knows nothing of what the bytes mean.
package modules
