//go:build !linux

package memory

// Faults returns -1: the number is not known.
func Faults() int64 { return -1 }
