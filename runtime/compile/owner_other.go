//go:build !unix

package compile

import "io/fs"

// Access is a matter of lists that modes don't show.
func othersWrite(fs.FileInfo) bool { return false }

func ownedByUs(fs.FileInfo) bool { return true }
