package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk returns a directory on a disk of its own, or one whose space the test
// must play otherwise.
func smallDisk(t *testing.T, size string) (dir string, real bool) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		return dir, false
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// fillUp writes a file that leaves no space, and returns what frees it.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	file := filepath.Join(dir, "ballast")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	for buf := make([]byte, 64<<10); len(buf) > 0; {
		if _, err := f.Write(buf); errors.Is(err, syscall.ENOSPC) {
			buf = buf[:len(buf)/2]
		} else {
			must(t, err)
		}
	}
	return func() { must(t, os.Remove(file)) }
}

// Near the end of the disk changes are refused before they are written, reads and
// serving go on, and nothing has to be restarted.
func TestAlmostFullDisk(t *testing.T) {
	dir, real := smallDisk(t, "48m")
	cfg := Config{Dir: dir}
	if !real {
		free, ok := freeSpace(dir)
		if !ok {
			t.Fatal("the free space is unknown")
		}
		cfg.MinFree = free * 2
	}
	n := newNode(t, cfg).run()
	if !real {
		until(t, "refused", func() bool { return n.Ready() != nil && strings.Contains(n.Ready().Error(), "is full") })
		return
	}
	n.ready()
	rev := n.must(put("k", "v", 0))
	free := fillUp(t, dir)
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("Ready = %v, want that the disk is full", err)
	}
	_, err := n.Commit(t.Context(), put("k", "w", rev))
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("Commit = %v, want a certain ErrUnavailable that the disk is full", err)
	}
	if e, err := n.Get(t.Context(), "k"); err != nil || string(e.Value) != "v" {
		t.Errorf("Get = %+v, %v", e, err)
	}
	free()
	n.wait(n.must(put("k", "w", rev)))
}

// A disk that fills up while the server writes stops the store for good: the node
// says so, reads on, and reopens the store when there is space.
func TestFullDisk(t *testing.T) {
	dir, real := smallDisk(t, "24m")
	if !real {
		if os.Getenv("CI") != "" {
			t.Fatal("needs the right to mount a tmpfs")
		}
		t.Skip("needs the right to mount a tmpfs")
	}
	n := newNode(t, Config{Dir: dir, MinFree: -1}).run()
	n.ready()
	want, rev := n.seed()
	free := fillUp(t, dir)
	// A write or two may still fit into blocks that are allocated.
	big := string(make([]byte, 256<<10))
	_, err := n.Commit(t.Context(), put("big", big, 0))
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Commit = %v, want ErrUnavailable and ENOSPC", err)
	}
	until(t, "said", func() bool { return n.Ready() != nil })
	if _, err := n.Commit(t.Context(), put("big2", big, 0)); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) {
		t.Errorf("next Commit = %v, want a certain ErrUnavailable", err)
	}
	if e, err := n.Get(t.Context(), "host.b"); err != nil || string(e.Value) != "x" {
		t.Errorf("Get = %+v, %v", e, err)
	}
	n.served(want)
	free()
	n.ready()
	n.wait(n.must(put("room", "again", 0)))
	if n.Applied() <= rev {
		t.Errorf("Applied = %d, was %d", n.Applied(), rev)
	}
	got, err := n.List(t.Context(), "")
	must(t, err)
	for _, e := range got {
		if v, ok := want[e.Key]; ok && v != string(e.Value) {
			t.Errorf("%s = %q, want %q", e.Key, e.Value, v)
		}
		delete(want, e.Key)
	}
	if len(want) > 0 {
		t.Errorf("lost: %v", want)
	}
	n.served(n.values())
}
