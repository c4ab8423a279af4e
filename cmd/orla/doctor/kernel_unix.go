//go:build unix

package doctor

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// kernel looks at what the operating system lets a node do.
func kernel() []Finding {
	return []Finding{executable(), openFiles()}
}

// executable tries what compiling a function to machine code needs: memory that
// is written first and executed then. Hardened kernels forbid it.
func executable() Finding {
	name := "functions"
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return Finding{name, Warn, "there is no compiler for " + runtime.GOARCH + ": functions are interpreted, 10 to 100 times slower", "run the node on amd64 or arm64"}
	}
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		defer unix.Munmap(page) //nolint:errcheck // it ends with the process
		err = unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
	}
	if err != nil {
		return Finding{name, Fail, fmt.Sprintf("the kernel does not let memory be made executable: %v", err), "allow it (SELinux: execmem; systemd: MemoryDenyWriteExecute=no), or deploy sites and proxies only"}
	}
	return Finding{name, OK, "can be compiled to machine code of " + runtime.GOOS + "/" + runtime.GOARCH, ""}
}

func openFiles() Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Finding{"open files", Warn, err.Error(), ""}
	}
	// Go raises the soft limit to the hard one when a program starts.
	return filesFinding(limit.Max)
}

func filesFinding(limit uint64) Finding {
	if limit < filesWarn {
		return Finding{"open files", Warn, fmt.Sprintf("at most %d, and each connection is one", limit), "raise it: ulimit -Hn 65536, or LimitNOFILE=65536 in systemd"}
	}
	if limit > 1<<32 {
		return Finding{"open files", OK, "no limit", ""}
	}
	return Finding{"open files", OK, fmt.Sprintf("at most %d", limit), ""}
}

func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
