package app

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestReason(t *testing.T) {
	for _, test := range []struct {
		err    error
		linked bool
		want   string
	}{
		{&fs.PathError{Op: "openat", Path: "a", Err: syscall.EACCES}, false, "the file cannot be read: permission denied"},
		{&fs.PathError{Op: "openat", Path: "a", Err: syscall.EIO}, false, "the file cannot be read: input/output error"},
		{&fs.PathError{Op: "openat", Path: "a", Err: syscall.ENOENT}, false, "the file vanished while it was being packed; deploy again"},
		{os.ErrNotExist, true, "the symbolic link leads nowhere; remove it or build what it names"},
		{errChanged, false, "it was written to while it was being packed; wait until that is done, then deploy again"},
		{errors.New("odd"), false, "the file cannot be read: odd"},
	} {
		if got := reason(test.err, test.linked); got != test.want {
			t.Errorf("reason(%v, %v) = %q, want %q", test.err, test.linked, got, test.want)
		}
	}
}
