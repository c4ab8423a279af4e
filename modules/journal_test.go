package modules_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/orla-edge/orla/modules"
)

// afterPowerFailure copies a store as a machine that lost its power now would find it, if
// of the blobs given it had written nothing, zeros or a part.
func afterPowerFailure(t *testing.T, root string, lost []modules.Digest) string {
	t.Helper()
	after := filepath.Join(t.TempDir(), "blobs")
	if err := os.CopyFS(after, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	for i, digest := range lost {
		path := blobPath(after, digest)
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.Remove(path)
		}
		switch i % 4 {
		case 0:
			err = errors.Join(err, os.WriteFile(path, nil, 0o400))
		case 1:
			err = errors.Join(err, os.WriteFile(path, make([]byte, len(b)), 0o400))
		case 2:
			err = errors.Join(err, os.WriteFile(path, b[:len(b)/2], 0o400))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return after
}

func putDurably(t *testing.T, d *modules.Dir, b []byte) modules.Digest {
	t.Helper()
	digest, err := d.PutDurable(b)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPutDurableSurvivesAPowerFailure(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	var all []modules.Digest
	for i := range 9 {
		all = append(all, putDurably(t, d, bytes.Repeat([]byte{byte(i)}, 100*i)))
	}
	for range 2 { // the second time it was there already
		d2 := open(t, afterPowerFailure(t, root, all))
		for i, digest := range all {
			if b, err := d2.Read(digest, 1<<10); err != nil || len(b) != 100*i {
				t.Errorf("blob %d is %d bytes, %v", i, len(b), err)
			}
		}
		putDurably(t, d, bytes.Repeat([]byte{1}, 100))
	}
}

// TestBegunIsThereAfterTheProcess: also what was not written to its place yet.
func TestBegunIsThereAfterTheProcess(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	for _, size := range []int{0, 100, 1 << 20} {
		b := make([]byte, size)
		p, err := d.Begin(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := open(t, afterPowerFailure(t, root, nil)).Verify(modules.Sum(b)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := p.Write(); err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(modules.Sum(b)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestJournalTurns: more blobs than the journal has room for, by several at a time. What is
// not in it any more is on the disk by other means.
func TestJournalTurns(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	const writers, each = 4, 120
	var last [writers][]modules.Digest
	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for i := range each {
				digest, err := d.PutDurable(bytes.Repeat(fmt.Appendf(nil, "%d %d,", w, i), 1000))
				if err != nil {
					t.Error(err)
				}
				if i >= each-10 {
					last[w] = append(last[w], digest)
				}
			}
		})
	}
	g.Wait()
	for w := range writers {
		after := open(t, afterPowerFailure(t, root, last[w]))
		for i, digest := range last[w] {
			if err := after.Verify(digest); err != nil {
				t.Errorf("writer %d, %d from the last: %v", w, i, err)
			}
		}
	}
}

// TestSyncWhileClosing: a blob is durable, whoever comes first.
func TestSyncWhileClosing(t *testing.T) {
	for range 5 {
		root := t.TempDir()
		d := open(t, root)
		p, err := d.Begin([]byte("content"))
		if err == nil {
			err = p.Write()
		}
		if err != nil {
			t.Fatal(err)
		}
		var g sync.WaitGroup
		for _, f := range []func() error{p.Sync, p.Sync, d.Close} {
			g.Go(func() {
				if err := f(); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if err := open(t, root).Verify(modules.Sum([]byte("content"))); err != nil {
			t.Error(err)
		}
	}
}

// TestWithoutAJournal: as on a full disk. Blobs are synced where they are.
func TestWithoutAJournal(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	locks, err := filepath.Glob(filepath.Join(root, "tmp", "*.lock"))
	if err != nil || len(locks) != 1 {
		t.Fatal(locks, err)
	}
	session := locks[0][:len(locks[0])-len(".lock")]
	if err := os.Mkdir(filepath.Join(session, "journal-0"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{[]byte("small"), make([]byte, 1<<20)} {
		if err := d.Verify(putDurably(t, d, b)); err != nil {
			t.Error(err)
		}
	}
}
