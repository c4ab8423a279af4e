package memory

import "golang.org/x/sys/unix"

// Faults returns the page faults that the calling thread has had. As long as the
// number stands still, the thread's writes have met private pages only. The caller
// holds the thread by [runtime.LockOSThread] between two calls that it compares.
func Faults() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return -1
	}
	return u.Minflt + u.Majflt
}
