package app

import "github.com/dustin/go-humanize"

// What a release may hold. A node has limits of its own; these are checked
// before anything is hashed or sent.
const (
	// MaxFiles is the number of files in a site, and in a function's folder.
	MaxFiles = 100_000
	// MaxFileSize is the size of one file or module in bytes.
	MaxFileSize = 1 << 30
	// MaxTotalSize is the size of all files of a release in bytes.
	MaxTotalSize = 16 << 30
	// MaxPath is the length of a file's path below its folder in bytes.
	MaxPath = 1024
	// maxFolders is how deep folders may be nested, symbolic links followed.
	maxFolders = 64
	// maxProblems is how many problems of one folder are told one by one.
	maxProblems = 50
)

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
