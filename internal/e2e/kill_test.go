//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// kills is how often TestKill kills the node.
const kills = 100

// TestKill kills the node at random moments while it is being deployed to. Every
// start serves, and no deploy that was acknowledged is missing.
func TestKill(t *testing.T) {
	n := start(t, t.TempDir(), "--tls", "off")
	dir := t.TempDir()
	release := 0
	deploy := func() error {
		release++
		writeTree(t, dir, map[string]string{
			"orla.toml":         "name = \"kill\"\n[site]\ndir = \"public\"\n",
			"public/index.html": strconv.Itoa(release),
			"public/style.css":  fmt.Sprintf("/* %d */", release),
		})
		return n.deploy(t.Context(), dir)
	}
	if err := deploy(); err != nil {
		t.Fatal(err)
	}
	acknowledged := release
	var deploys int
	for i := range kills {
		var killed atomic.Bool
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(150*time.Millisecond))), func() {
			killed.Store(true)
			_ = n.cmd.Process.Kill()
		})
		for {
			err := deploy()
			if err == nil {
				acknowledged = release
				deploys++
				continue
			}
			if !killed.Load() {
				t.Fatalf("kill %d: deploy failed before the kill: %v\n%s", i, err, n.log)
			}
			break
		}
		timer.Stop()
		<-n.done
		n.start()
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		status, body, err := get(c, n.http+"/")
		served, _ := strconv.Atoi(body)
		if err != nil || status != 200 || served < acknowledged || served > release {
			t.Fatalf("kill %d: after the start, GET / = %d %q %v, want a release from %d (acknowledged) to %d (tried)\n%s",
				i, status, body, err, acknowledged, release, n.log)
		}
		// What was live after the start is what later ones count from.
		acknowledged = served
	}
	t.Logf("%d kills, %d acknowledged deploys", kills, deploys)
}
