package modules_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/modules"
)

const childEnv = "ORLA_TEST_MODULES_CHILD"

func TestMain(m *testing.M) {
	if root := os.Getenv(childEnv); root != "" {
		if err := upload(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// upload stores blobs until it is killed, telling of each when it is committed,
// and always has an unfinished one open.
func upload(root string) error {
	d, err := modules.OpenDir(root)
	if err != nil {
		return err
	}
	half, err := d.Create()
	if err != nil {
		return err
	}
	fmt.Fprint(half, "an upload that never ends")
	for i := 0; ; i++ {
		digest, err := d.Put(fmt.Appendf(nil, "blob %d of process %d", i, os.Getpid()))
		if err != nil {
			return err
		}
		if _, err := fmt.Println(digest); err != nil {
			return err
		}
	}
}

// killed runs a child that uploads into root and kills it after n blobs.
func killed(t *testing.T, root string, n int) []modules.Digest {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []modules.Digest
	for lines := bufio.NewScanner(out); len(told) < n && lines.Scan(); {
		digest, err := modules.ParseDigest(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, digest)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it was killed
	if len(told) < n {
		t.Fatalf("the child stored %d blobs, want %d", len(told), n)
	}
	return told
}

func TestKilledUploadLeavesWholeBlobsOnly(t *testing.T) {
	root := t.TempDir()
	var told []modules.Digest
	for i := range 5 {
		told = append(told, killed(t, root, 3+7*i)...)
	}
	if left := sessions(t, root); len(left) == 0 {
		t.Fatal("the killed processes left nothing to remove: the test shows nothing")
	}
	d := open(t, root)
	for _, digest := range told {
		if err := d.Verify(digest); err != nil {
			t.Error(err)
		}
	}
	if left := sessions(t, root); len(left) != 1 {
		t.Errorf("sessions after open = %v, want our own", left)
	}
	for _, name := range files(t, root) {
		if strings.HasPrefix(name, "tmp") {
			t.Errorf("left behind: %s", name)
		}
	}
}

func sessions(t *testing.T, root string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "tmp", "*.lock"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOpenSparesLiveUploads(t *testing.T) {
	root := t.TempDir()
	first := open(t, root)
	w, err := first.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "still being uploaded")
	open(t, root)
	if _, err := w.Commit(modules.Digest{}); err != nil {
		t.Errorf("another OpenDir took the upload away: %v", err)
	}
}

// A power failure is played by damaging blobs behind a killed process: those it
// had not synced are verified at the next open, older ones are left alone.
func TestOpenVerifiesWhatWasNotSynced(t *testing.T) {
	root := t.TempDir()
	before := open(t, root)
	synced := put(t, before, []byte("durable"))
	if err := before.Sync(); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := replace(blobPath(root, synced), []byte("damaged, but by something else")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(blobPath(root, synced), long, long); err != nil {
		t.Fatal(err)
	}
	told := killed(t, root, 4)
	if err := replace(blobPath(root, told[1]), nil); err != nil {
		t.Fatal(err)
	}

	d := open(t, root)
	for i, digest := range told {
		if got, want := d.Has(digest), i != 1; got != want {
			t.Errorf("Has(blob %d) = %v, want %v", i, got, want)
		}
	}
	if !d.Has(synced) {
		t.Error("a blob from before the upload was verified: opening would read the whole store")
	}
}

func TestSyncSettlesTheMarker(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	marker := func() bool {
		m, err := filepath.Glob(filepath.Join(root, "tmp", "*", "unsynced"))
		if err != nil {
			t.Fatal(err)
		}
		return len(m) == 1
	}
	put(t, d, []byte("a"))
	if !marker() {
		t.Fatal("no marker after a commit")
	}
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if !marker() {
		t.Fatal("the marker went while an upload was open")
	}
	if _, err := w.Commit(modules.Digest{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if marker() {
		t.Fatal("the marker stayed after Sync")
	}
}

func checkFull(t *testing.T, root string, full error) {
	t.Helper()
	d := open(t, root)
	kept := put(t, d, []byte("there before"))
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for i := 0; err == nil; i++ {
		if i > 1<<10 {
			t.Fatal("wrote 64 MiB: the disk is not full")
		}
		_, err = w.Write(buf)
	}
	if !errors.Is(err, full) {
		t.Fatalf("Write on a full disk = %v, want %v", err, full)
	}
	if _, cerr := w.Commit(modules.Digest{}); !errors.Is(cerr, full) {
		t.Errorf("Commit on a full disk = %v, want %v", cerr, full)
	}
	for _, name := range files(t, root) {
		if filepath.Base(name) != "unsynced" && !strings.HasPrefix(name, "sha256") {
			t.Errorf("left behind: %s", name)
		}
	}
	if err := d.Verify(kept); err != nil {
		t.Error(err)
	}
	put(t, d, []byte("room again")) // what the failed upload took is free
}

// A blob that is put durably needs no marker: who puts or reads it looks at its bytes.
func TestPutDurableLeavesNoMarker(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	for _, content := range []string{"a", "b", "a"} {
		digest, err := d.PutDurable([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read(digest, 10); err != nil || string(b) != content {
			t.Errorf("Read = %q, %v, want %q", b, err, content)
		}
	}
	if left, err := filepath.Glob(filepath.Join(root, "tmp", "*", "unsynced")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PutDurable([]byte("d")); !errors.Is(err, modules.ErrClosed) {
		t.Errorf("PutDurable after Close = %v, want ErrClosed", err)
	}
}

// What a power failure has left of a blob that was written and not synced is not taken for
// the blob: not by a reader, nor by who puts it again.
func TestPendingAfterAPowerFailure(t *testing.T) {
	for name, left := range map[string]string{"nothing": "", "zeros": "\x00\x00\x00\x00\x00\x00\x00", "a part": "cont"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := open(t, root)
			p, err := d.Begin([]byte("content"))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Write(); err != nil {
				t.Fatal(err)
			}
			digest := modules.Sum([]byte("content"))
			if b, err := d.Read(digest, 10); err != nil || string(b) != "content" {
				t.Errorf("Read before Sync = %q, %v, want it all", b, err)
			}
			if err := p.Sync(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, "sha256", digest.Hex()[:2], digest.Hex()[2:])
			if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(left), 0o600)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.PutDurable([]byte("content")); err != nil {
				t.Fatal(err)
			}
			if b, err := d.Read(digest, 10); err != nil || string(b) != "content" {
				t.Errorf("Read after it was put again = %q, %v, want it all", b, err)
			}
		})
	}
}
