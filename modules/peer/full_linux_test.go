package peer_test

import (
	"errors"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

// A full disk is a small tmpfs where the test may mount one; elsewhere a limit on
// the size of a file plays it, with another error number.
func TestFullDisk(t *testing.T) {
	id := identity(t)
	contents, blobs := small(300)
	contents = append(contents, noise(3<<20))
	blobs = append(blobs, blob(contents[300]))
	base, _ := node(t, id, contents...)

	root := t.TempDir()
	errno, says := syscall.ENOSPC, "is full; make room"
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	} else {
		errno, says = syscall.EFBIG, "fetch blob"
		limitFiles(t, 1<<20)
	}
	dir, err := modules.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	f := peer.New(peer.Config{Blobs: dir, Client: client(t, id), Peers: func() []string { return []string{base} }})
	err = f.Ensure(t.Context(), blobs)
	if !errors.Is(err, errno) || !strings.Contains(err.Error(), says) || errors.Is(err, peer.ErrUnavailable) {
		t.Errorf("Ensure = %v, want %v and %q", err, errno, says)
	}
	if left := uploads(t, root); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := f.Ensure(t.Context(), blobs[:300]); err != nil {
		t.Errorf("what fits was not fetched: %v", err)
	}
}

func limitFiles(t *testing.T, size uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		signal.Reset(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	})
}
