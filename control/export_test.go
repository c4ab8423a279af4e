package control

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// exported is an export of p.
func (p *plane) exported(blobs bool) []byte {
	p.t.Helper()
	stream, err := p.admin().ExportCluster(p.t.Context(), connect.NewRequest(&orlav1.ExportClusterRequest{Blobs: blobs}))
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	var b []byte
	whole := false
	for stream.Receive() {
		b = append(b, stream.Msg().GetData()...)
		whole = stream.Msg().GetSummary() != nil
	}
	if err := stream.Err(); err != nil || !whole {
		p.t.Fatalf("export ended with %v, with a summary: %v", err, whole)
	}
	return b
}

func (p *plane) imported(b []byte, replace bool) (*orlav1.ImportClusterResponse, error) {
	stream := p.admin().ImportCluster(p.t.Context())
	for first := true; len(b) > 0 || first; first = false {
		n := min(len(b), 10_000)
		if err := stream.Send(&orlav1.ImportClusterRequest{Data: b[:n], Replace: first && replace}); err != nil {
			break // the answer has the reason
		}
		b = b[n:]
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func TestExportAndImport(t *testing.T) {
	from := newPlane(t)
	from.mustDeploy("shop", "shop.example", "one")
	from.mustDeploy("shop", "shop.example", "two")
	from.mustDeploy("blog", "blog.example", "hi")
	if _, err := from.s.cfg.Register.Commit(t.Context(), cluster.Change{Key: ticketsKey, Value: []byte("old keys")}); err != nil {
		t.Fatal(err)
	}
	all := from.exported(true)
	if bytes.Contains(all, []byte("old keys")) {
		t.Error("the keys of session tickets are in the export")
	}

	to := newPlane(t)
	res, err := to.imported(all, false)
	if err != nil || res.GetAdded() != 4 || res.GetRemoved() != 0 || len(res.GetMissing()) != 0 {
		t.Fatalf("import = %+v, %v, want four keys, nothing missing", res, err)
	}
	if head, _ := to.s.catalog.head("shop"); len(head.GetReleases()) != 2 || head.GetLive() != 2 {
		t.Errorf("shop = %v, want release 2 of 2", head)
	}
	if refused := to.s.catalog.listRefusals(); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	to.mustDeploy("new", "new.example", "x")
	if _, err := to.s.cfg.Register.Commit(t.Context(), cluster.Change{Key: ticketsKey, Value: []byte("own keys")}); err != nil {
		t.Fatal(err)
	}
	if _, err := to.imported(all, false); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("import over apps = %v, want a refusal", err)
	}
	res, err = to.imported(all, true)
	if err != nil || res.GetRemoved() != 2 || res.GetSame() != 4 || res.GetAdded()+res.GetChanged() != 0 {
		t.Errorf("replace = %+v, %v, want two keys removed, four the same", res, err)
	}
	if head, _ := to.s.catalog.head("new"); head != nil {
		t.Error("an app that is not in the export is still there")
	}
}

func TestImportRefusesWhatIsDamaged(t *testing.T) {
	from := newPlane(t)
	from.mustDeploy("shop", "shop.example", "one")
	all := from.exported(true)
	flip := func(at int) []byte {
		b := bytes.Clone(all)
		b[at] ^= 1
		return b
	}
	blob := bytes.Index(all, []byte(exportBlobs)) + 512
	for name, b := range map[string][]byte{
		"empty": {}, "not a tar": []byte(strings.Repeat("x", 2000)), "cut in the register": all[:600],
		"cut in the content": all[:blob+1], "cut before the summary": all[:bytes.Index(all, []byte(exportSummary))],
		"a bit of the register": flip(700), "a bit of the content": flip(bytes.Index(all[blob:], []byte("shop.example")) + blob),
	} {
		t.Run(name, func(t *testing.T) {
			to := newPlane(t)
			if res, err := to.imported(b, false); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("import = %+v, %v, want a refusal", res, err)
			}
			if n := len(to.s.catalog.listHeads(orlav1.Kind_KIND_UNSPECIFIED)); n != 0 {
				t.Errorf("%d heads of it are in the register", n)
			}
		})
	}
}

func TestBackups(t *testing.T) {
	p, dir := newPlane(t), filepath.Join(t.TempDir(), "backup")
	last := ""
	for i := range 5 {
		p.mustDeploy("shop", "shop.example", fmt.Sprint("release ", i))
		for range 2 { // the second has nothing to do
			var err error
			if last, err = p.s.backup(t.Context(), dir, last); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != backupsKept {
		t.Fatalf("files = %q, %v, want %d", files, err, backupsKept)
	}
	b, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	to := newPlane(t)
	if _, err := to.imported(b, false); err != nil {
		t.Errorf("import of a backup = %v", err)
	}
	if head, _ := to.s.catalog.head("shop"); head.GetLive() != 5 {
		t.Errorf("shop = %v, want release 5", head)
	}
}

func FuzzArchive(f *testing.F) {
	seed := func(names ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range names {
			content := []byte("{}")
			if name == exportRegister {
				content = cluster.Register{Revision: 7, Entries: []cluster.Entry{{Key: "k", Value: []byte("v"), Revision: 7}}}.Encode()
			}
			_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600})
			_, _ = w.Write(content)
		}
		_ = w.Close()
		return b.Bytes()
	}
	digest := exportBlobs + "sha256:" + strings.Repeat("0", 64)
	f.Add(seed(exportRegister, digest, exportSummary))
	f.Add(seed(exportRegister))
	f.Add(seed(exportRegister, "../x", exportSummary))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := archive{tar.NewReader(bytes.NewReader(b))}
		register, err := a.register()
		if err != nil {
			if !errors.Is(err, errExport) {
				t.Errorf("register: %v is not errExport", err)
			}
			return
		}
		again, err := cluster.DecodeRegister(register.Encode())
		if err != nil || again.Revision != register.Revision || len(again.Entries) != len(register.Entries) {
			t.Errorf("%+v became %+v, %v", register, again, err)
		}
		if _, err := a.blobs(func(_ modules.Digest, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }); errors.Is(err, io.EOF) {
			t.Error("the end is not told from a cut")
		}
	})
}
