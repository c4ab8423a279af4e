//go:build !linux

package runtime

import "time"

// threadTime returns -1: the time is not known.
func threadTime() time.Duration { return -1 }
