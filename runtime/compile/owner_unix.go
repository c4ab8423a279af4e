//go:build unix

package compile

import (
	"io/fs"
	"os"
	"syscall"
)

// othersWrite reports whether somebody but the owner may write.
func othersWrite(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
