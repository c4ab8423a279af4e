package modules_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/modules"
)

func open(t *testing.T, path string) *modules.Dir {
	t.Helper()
	d, err := modules.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func put(t *testing.T, d *modules.Dir, b []byte) modules.Digest {
	t.Helper()
	digest, err := d.Put(b)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func blobPath(root string, d modules.Digest) string {
	return filepath.Join(root, "sha256", d.Hex()[:2], d.Hex()[2:])
}

// files lists every regular file below root but the lock files of sessions.
func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && filepath.Ext(path) != ".lock" {
			rel, _ := filepath.Rel(root, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestBlobsRoundTrip(t *testing.T) {
	sizes := []int{0, 1, 4096, 1<<20 + 7}
	d := open(t, t.TempDir())
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			want := bytes.Repeat([]byte{byte(size), 0x5a}, size/2+1)[:size]
			digest := put(t, d, want)
			if digest != modules.Sum(want) {
				t.Errorf("Put returned %v, want %v", digest, modules.Sum(want))
			}
			if !d.Has(digest) {
				t.Error("Has = false after Put")
			}
			if n, err := d.Size(digest); err != nil || n != int64(size) {
				t.Errorf("Size = %d, %v, want %d", n, err, size)
			}
			if got, err := d.Read(digest, int64(size)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Read = %d bytes, %v", len(got), err)
			}
			if err := d.Verify(digest); err != nil {
				t.Error(err)
			}
			f, err := d.Open(digest)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Open: read %d bytes, %v", len(got), err)
			}
			if size > 0 {
				if _, err := d.Read(digest, int64(size)-1); !errors.Is(err, modules.ErrTooLarge) {
					t.Errorf("Read below the size: %v, want ErrTooLarge", err)
				}
			}
		})
	}
}

func TestMissingBlob(t *testing.T) {
	d := open(t, t.TempDir())
	missing := modules.Sum([]byte("nowhere"))
	if d.Has(missing) {
		t.Error("Has = true")
	}
	_, sizeErr := d.Size(missing)
	_, readErr := d.Read(missing, 10)
	_, openErr := d.Open(missing)
	for name, err := range map[string]error{"Size": sizeErr, "Read": readErr, "Open": openErr, "Verify": d.Verify(missing)} {
		if !errors.Is(err, modules.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want ErrNotFound and fs.ErrNotExist", name, err)
		}
	}
}

func TestCommitOfOtherBytesKeepsNothing(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "these bytes")
	if _, err := w.Commit(modules.Sum([]byte("other bytes"))); !errors.Is(err, modules.ErrDigest) {
		t.Fatalf("Commit = %v, want ErrDigest", err)
	}
	if _, err := w.Write([]byte("more")); err == nil {
		t.Error("Write after a failed Commit succeeded")
	}
	w.Abort()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCommitWithoutAnnouncement(t *testing.T) {
	d := open(t, t.TempDir())
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "whatever ")
	fmt.Fprint(w, "comes")
	n, err := w.Commit(modules.Digest{})
	if err != nil || n != int64(len("whatever comes")) {
		t.Fatalf("Commit = %d, %v", n, err)
	}
	if want := modules.Sum([]byte("whatever comes")); w.Sum() != want || !d.Has(want) {
		t.Errorf("Sum = %v, want %v, stored", w.Sum(), want)
	}
	w.Abort()
	if !d.Has(w.Sum()) {
		t.Error("Abort after Commit removed the blob")
	}
	if _, err := w.Commit(modules.Digest{}); !errors.Is(err, modules.ErrClosed) {
		t.Errorf("second Commit = %v, want ErrClosed", err)
	}
}

func TestNothingIsSeenBeforeCommit(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	b := []byte("half of it")
	w.Write(b)
	if d.Has(modules.Sum(b)) {
		t.Error("Has = true before Commit")
	}
	w.Abort()
	w.Abort()
	if d.Has(modules.Sum(b)) {
		t.Error("Has = true after Abort")
	}
}

func TestConcurrentCommitsOfOneDigest(t *testing.T) {
	root := t.TempDir()
	dirs := []*modules.Dir{open(t, root), open(t, root)}
	b := bytes.Repeat([]byte("same"), 50_000)
	digest := modules.Sum(b)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			d := dirs[i%2]
			w, err := d.Create()
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Abort()
			if _, err := io.Copy(w, bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
			if _, err := w.Commit(digest); err != nil {
				t.Error(err)
			}
			if err := d.Verify(digest); err != nil {
				t.Error(err)
			}
			if err := d.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, d := range dirs {
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(t, root); len(got) != 1 {
		t.Errorf("files = %v, want the one blob", got)
	}
}

func TestCorruptBlobIsSetAsideAndHealed(t *testing.T) {
	damages := map[string]func(path string) error{
		"flipped bit": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return replace(path, b)
		},
		"cut short": func(path string) error { return replace(path, []byte("the")) },
		"emptied":   func(path string) error { return replace(path, nil) },
	}
	reads := map[string]func(*modules.Dir, modules.Digest) error{
		"Read":   func(d *modules.Dir, h modules.Digest) error { _, err := d.Read(h, 1<<20); return err },
		"Verify": func(d *modules.Dir, h modules.Digest) error { return d.Verify(h) },
	}
	for damage, do := range damages {
		for read, check := range reads {
			t.Run(damage+"/"+read, func(t *testing.T) {
				root := t.TempDir()
				d := open(t, root)
				b := []byte("the bytes of a blob")
				digest := put(t, d, b)
				if err := do(blobPath(root, digest)); err != nil {
					t.Fatal(err)
				}
				err := check(d, digest)
				if !errors.Is(err, modules.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(digest.String())) {
					t.Fatalf("%s = %v, want ErrCorrupt with the digest", read, err)
				}
				if d.Has(digest) {
					t.Error("the corrupt blob is still offered")
				}
				if _, err := os.Stat(filepath.Join(root, "corrupt", digest.Hex())); err != nil {
					t.Errorf("it was not set aside: %v", err)
				}
				put(t, d, b)
				if err := check(d, digest); err != nil {
					t.Errorf("after the next upload: %v", err)
				}
			})
		}
	}
}

func replace(path string, b []byte) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func TestCollect(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	old, long := time.Now().Add(-time.Hour), time.Now().Add(-48*time.Hour)
	blob := func(content string, age time.Time) modules.Digest {
		digest := put(t, d, []byte(content))
		if err := os.Chtimes(blobPath(root, digest), age, age); err != nil {
			t.Fatal(err)
		}
		return digest
	}
	used := blob("in use", long)
	fresh := blob("uploaded just now", time.Now())
	asked := blob("old, but a deploy was told that it is here", long)
	gone := blob("old and unused", long)
	if !d.Has(asked) {
		t.Fatal("Has = false")
	}
	n, freed, err := d.Collect(func(h modules.Digest) bool { return h == used }, old)
	if err != nil {
		t.Fatal(err)
	}
	if n != 1 || freed != int64(len("old and unused")) {
		t.Errorf("Collect = %d blobs, %d bytes, want 1, %d", n, freed, len("old and unused"))
	}
	for name, c := range map[string]struct {
		digest modules.Digest
		want   bool
	}{"used": {used, true}, "fresh": {fresh, true}, "asked": {asked, true}, "unused": {gone, false}} {
		if d.Has(c.digest) != c.want {
			t.Errorf("Has(%s) = %v, want %v", name, !c.want, c.want)
		}
	}
}

func TestCollectWhileWriting(t *testing.T) {
	d := open(t, t.TempDir())
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := d.Collect(func(modules.Digest) bool { return false }, time.Now().Add(-time.Hour)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 200 {
		digest := put(t, d, fmt.Appendf(nil, "blob %d", i))
		if !d.Has(digest) {
			t.Fatal("a fresh blob was collected")
		}
	}
	close(stop)
	wg.Wait()
}

func TestClosedDirRefusesUploads(t *testing.T) {
	d, err := modules.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(); !errors.Is(err, modules.ErrClosed) {
		t.Errorf("Create = %v, want ErrClosed", err)
	}
}

func FuzzParseDigest(f *testing.F) {
	valid := modules.Sum([]byte("x")).String()
	for _, s := range []string{valid, "", "sha256:", "sha256:" + valid, valid[:70], valid + "0", "sha512:" + valid[7:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := modules.ParseDigest(s)
		if err != nil {
			return
		}
		if d.String() != s {
			t.Errorf("ParseDigest(%q).String() = %q", s, d.String())
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d, err := modules.OpenDir(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			buf := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				for i := range 8 {
					buf[i] = byte(rand.Uint32())
				}
				if _, err := d.Put(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
