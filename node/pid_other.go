//go:build !unix || solaris || aix

package node

import "os"

// lockNote cannot lock on these systems, where no node is upgraded either.
func lockNote(*os.File) (bool, error) { return false, nil }
