// Package archtest holds the tests that keep the packages in the order of
// docs/ARCHITECTURE.md. It has no code of its own, and knows nothing of what
// the packages do.
package archtest
