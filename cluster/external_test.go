package cluster

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/orla-edge/orla/internal/ports"
)

// somebodys starts NATS servers that are not ours, a cluster if several, with one user;
// it returns their URLs and the file with the user's seed.
func somebodys(t *testing.T, n int) (urls, seedFile string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	public, err := pair.PublicKey()
	must(t, err)
	seed, err := pair.Seed()
	must(t, err)
	seedFile = filepath.Join(t.TempDir(), "user.nk")
	must(t, os.WriteFile(seedFile, seed, 0o600))
	var routes []*url.URL
	var addrs []string
	for range n {
		addrs = append(addrs, ports.Address(t))
		routes = append(routes, &url.URL{Scheme: "nats", Host: addrs[len(addrs)-1]})
	}
	var all []string
	for i := range n {
		opts := &server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), Nkeys: []*server.NkeyUser{{Nkey: public}},
		}
		if n > 1 {
			_, port, _ := splitAddr(addrs[i])
			opts.Cluster = server.ClusterOpts{Name: "theirs", Host: "127.0.0.1", Port: port}
			opts.Routes = routes
		}
		srv, err := server.NewServer(opts)
		must(t, err)
		srv.Start()
		t.Cleanup(func() { stopServer(srv) })
		if !srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("not ready")
		}
		all = append(all, srv.ClientURL())
	}
	return strings.Join(all, ","), seedFile
}

func TestSomebodyElsesNATS(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) {
			t.Parallel()
			urls, seed := somebodys(t, servers)
			dirs := []string{t.TempDir(), t.TempDir()}
			begin := func(i int) *node {
				return newNode(t, Config{Dir: dirs[i], Node: fmt.Sprint("n", i), Topology: Topology{NATS: &NATS{URL: urls, Nkey: seed}}}).run()
			}
			a, b := begin(0), begin(1)
			a.ready()
			b.ready()
			rev := a.must(put("k", "1", 0))
			until(t, "the other node has it", func() bool { return b.values()["k"] == "1" })
			rev = b.must(put("k", "2", rev))
			until(t, "the first node has it", func() bool { return a.values()["k"] == "2" })
			info, err := a.status.Load().reg.stream(t.Context())
			must(t, err)
			if info.Config.Replicas != servers {
				t.Errorf("the register has %d replicas, want %d", info.Config.Replicas, servers)
			}
			must(t, a.stop())
			b.must(put("k", "3", rev))
			a = begin(0)
			a.ready()
			until(t, "it has caught up", func() bool { return a.values()["k"] == "3" })
		})
	}
}

func TestSomebodyElsesNATSIsAway(t *testing.T) {
	n := newNode(t, Config{Dir: t.TempDir(), Topology: Topology{NATS: &NATS{URL: "nats://" + ports.Address(t)}}}).run()
	until(t, "it says so", func() bool { return n.Ready() != nil && strings.Contains(n.log.String(), "connect to NATS") })
}
