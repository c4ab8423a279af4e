// Package process runs programs for tests: they are gone when the test's process is,
// what they print is kept, and their clocks can be wrong; and it builds the program that most
// tests run, Orla. It does not know what they do.
package process
