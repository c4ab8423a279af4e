// Package e2e tests the whole product: the real binary, as a process of its own,
// with real clients. It has no code of the product.
package e2e
