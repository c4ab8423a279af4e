//go:build linux

package benchcluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	releaseFiles   = 10_000
	releaseChanged = 10
	releaseFolders = 100
)

// tree is a folder with the files of a release.
type tree struct {
	dir    string
	kind   string // "pages" can be compressed, "images" cannot
	random *rand.Rand
	bytes  int64
}

// newTree writes the files: 1 to 12 KiB each, the most of them small.
func newTree(b *testing.B, kind string) *tree {
	b.Helper()
	t := &tree{dir: b.TempDir(), kind: kind, random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // the same files each time
	must(b, os.WriteFile(filepath.Join(t.dir, app.AppFile), []byte("name = \""+kind+"\"\nhosts = [\""+kind+".example\"]\n[site]\n"), 0o600))
	for i := range releaseFolders {
		must(b, os.MkdirAll(filepath.Dir(t.file(i)), 0o755))
	}
	t.write(b, releaseFiles)
	return t
}

func (t *tree) public() string { return filepath.Join(t.dir, "public") }

func (t *tree) file(i int) string {
	name := fmt.Sprintf("page-%d.html", i)
	if t.kind == "images" {
		name = fmt.Sprintf("image-%d.webp", i)
	}
	return filepath.Join(t.public(), fmt.Sprint("d", i%releaseFolders), name)
}

// write writes the first files anew.
func (t *tree) write(b *testing.B, count int) {
	b.Helper()
	for i := range count {
		size := 1<<10 + int(11<<10*t.random.Float64()*t.random.Float64())
		content := make([]byte, 0, size+20)
		for len(content) < size {
			if t.kind == "images" {
				content = append(content, byte(t.random.Uint32()))
			} else {
				content = append(content, fmt.Sprintf("<p class=\"n%d\">%s</p>\n", t.random.IntN(50), words[t.random.IntN(len(words))])...)
			}
		}
		must(b, os.WriteFile(t.file(i), content, 0o600))
		t.bytes += int64(len(content))
	}
}

var words = strings.Fields(`a release is a folder of files that every node of a cluster serves from the moment on at
	which all of them have it, byte by byte as it was packed, and not one request before`) //nolint:gochecknoglobals // never changed

// deployed is how long the parts of a deploy took.
type deployed struct {
	total, pack, upload, compress, ready time.Duration
	cpu                                  time.Duration // of the client
}

// deploy packs and deploys the tree as `orla deploy` does.
func (t *tree) deploy(b *testing.B, c *client.Client) (d deployed) {
	b.Helper()
	cpu, start := processorTime(), time.Now()
	pkg, err := app.Pack(b.Context(), app.Options{Path: t.dir})
	must(b, err)
	packed := time.Now()
	var uploaded, compressed time.Time
	res, err := c.Deploy(b.Context(), pkg, client.DeployOptions{}, func(e client.Event) {
		switch {
		case e.Step == "validate":
			uploaded = time.Now()
		case e.Step == "activate" && compressed.IsZero():
			compressed = time.Now()
		case e.Node.GetState() == orlav1.NodeState_NODE_STATE_READY:
			d.ready = max(d.ready, time.Duration(e.Node.GetMs()*float64(time.Millisecond)))
		}
	})
	must(b, err)
	if why := res.GetLive().GetUnproven(); why != "" || len(res.GetLive().GetNodes()) != hubs {
		b.Fatalf("the release is live on %d nodes, want %d: %s", len(res.GetLive().GetNodes()), hubs, why)
	}
	d.total, d.cpu = time.Since(start), processorTime()-cpu
	d.pack, d.upload, d.compress = packed.Sub(start), uploaded.Sub(packed), compressed.Sub(uploaded)
	return d
}

// rsync copies the files to so many folders, all at a time, and syncs the disk. It returns
// how long that took without and with the latter.
func rsync(ctx context.Context, from string, to []string) (copied, synced time.Duration, err error) {
	start := time.Now()
	errs := make([]error, len(to))
	var all sync.WaitGroup
	for i, dir := range to {
		all.Go(func() {
			out, err := exec.CommandContext(ctx, "rsync", "-a", "--delete", from+"/", dir).CombinedOutput()
			if err != nil {
				errs[i] = fmt.Errorf("rsync: %w: %s", err, bytes.TrimSpace(out))
			}
		})
	}
	all.Wait()
	copied = time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, 0, err
		}
	}
	err = exec.CommandContext(ctx, "sync", "-f", to[0]).Run()
	return copied, time.Since(start), err
}

// BenchmarkRelease is a release of 10,000 files on three hubs, processes of their own on
// one disk, deployed for the first time and again with ten files changed, beside rsync of
// the same files to three folders of that disk. A deploy is over when all files are
// durable and verified on all nodes, compressed in three codings, and served.
func BenchmarkRelease(b *testing.B) {
	peer := "rsync to three folders"
	if _, err := exec.LookPath("rsync"); err != nil {
		fmt.Println("there is no rsync on this machine: its column stays empty; apt-get install rsync")
	}
	t := &table{head: []string{
		"10,000 files", "deploy", "of it packing", "uploading", "compressing", "on the others", "client's processor", peer, "with a sync of the disk", "load",
	}}
	for b.Loop() {
		l := lab.New(b, lab.Options{Hubs: hubs})
		c := l.Nodes[0].Client()
		defer c.Close()
		for _, kind := range []string{"images", "pages"} {
			tree := newTree(b, kind)
			var folders []string
			for range hubs {
				folders = append(folders, b.TempDir())
			}
			for _, what := range []string{"first", fmt.Sprint(releaseChanged, " changed")} {
				if what != "first" {
					tree.write(b, releaseChanged)
				}
				must(b, exec.CommandContext(b.Context(), "sync", "-f", tree.dir).Run()) // what was written before is nobody's
				copied, synced := "–", "–"
				if _, err := exec.LookPath("rsync"); err == nil {
					without, with, err := rsync(b.Context(), tree.public(), folders)
					must(b, err)
					copied, synced = short(without), short(with)
				}
				d := tree.deploy(b, c)
				t.add(fmt.Sprintf("%s, %d MB: %s", kind, tree.bytes>>20, what),
					short(d.total), short(d.pack), short(d.upload), short(d.compress), short(d.ready), short(d.cpu), copied, synced, load())
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	t.print(b)
}
