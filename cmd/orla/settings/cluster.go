package settings

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Cluster is how a node finds the others; see node.Cluster. The zero value means
// that there are none.
type Cluster struct {
	Name                      string
	Listen, Advertise         string
	Join                      []string
	SecretFile                string
	Peer, PeerAdvertise       string
	BlobStore                 string
	NATS                      string
	NATSCreds, NATSNkey       string
	NATSCA, NATSCert, NATSKey string
	NATSDomain                string
	NATSReplicas              int
}

func clusterTable() []Setting {
	return []Setting{
		{Flag: "cluster", Usage: "`name` of the cluster that the node is in (default: it is alone)", check: clusterName},
		{Flag: "cluster-listen", Usage: "`address` for the other hubs; the next port is for edges: makes the node a hub", check: address},
		{Flag: "cluster-advertise", Usage: "`address` by which others reach --cluster-listen, if another", check: address},
		{Flag: "join", Usage: "`addresses` that hubs listen on, with commas between; one that works is enough", check: addresses},
		{Flag: "cluster-secret-file", Usage: "`file` that `orla cluster secret` has made", check: filled},
		{Flag: "peer", Default: ":7071", Usage: "`address` for the cluster's nodes to fetch content from, or off", check: publicAddress},
		{Flag: "peer-advertise", Usage: "`address` by which others reach --peer, if another", check: address},
		{Flag: "blob-store", Usage: "`URL` of a store that all nodes share: s3://BUCKET/PREFIX?endpoint=… or oci://HOST/REPOSITORY", check: filled},
		{Flag: "nats", Usage: "`URL` of a NATS system to use instead of embedded servers", check: natsURL},
		{Flag: "nats-creds", Usage: "`file` with the credentials for --nats", check: filled},
		{Flag: "nats-nkey", Usage: "`file` with the nkey seed for --nats", check: filled},
		{Flag: "nats-ca", Usage: "`file` with the authorities to believe of --nats, in PEM", check: filled},
		{Flag: "nats-cert", Usage: "`file` with a client certificate for --nats, in PEM", check: filled},
		{Flag: "nats-key", Usage: "`file` with the key of --nats-cert", check: filled},
		{Flag: "nats-domain", Usage: "JetStream `domain` at --nats", check: filled},
		{Flag: "nats-replicas", Usage: "`number` of copies of the register at --nats (default: 3 if it is a cluster)", check: replicas},
	}
}

// clusterPaths are the settings that name files.
var clusterPaths = []string{"cluster-secret-file", "nats-creds", "nats-nkey", "nats-ca", "nats-cert", "nats-key"} //nolint:gochecknoglobals // a constant

func (f *file) clusterValues() map[string]string {
	copies := ""
	if f.NATSReplicas != nil {
		copies = strconv.Itoa(*f.NATSReplicas)
	}
	return map[string]string{
		"cluster": f.Cluster, "cluster-listen": f.ClusterListen, "cluster-advertise": f.ClusterAdvertise,
		"join": strings.Join(f.Join, ","), "cluster-secret-file": f.ClusterSecretFile,
		"peer": f.Peer, "peer-advertise": f.PeerAdvertise, "blob-store": f.BlobStore,
		"nats": f.NATS, "nats-creds": f.NATSCreds, "nats-nkey": f.NATSNkey, "nats-ca": f.NATSCA,
		"nats-cert": f.NATSCert, "nats-key": f.NATSKey, "nats-domain": f.NATSDomain, "nats-replicas": copies,
	}
}

func clusterOf(got map[string]string) (Cluster, error) {
	c := Cluster{
		Name: got["cluster"], Listen: got["cluster-listen"], Advertise: got["cluster-advertise"], Join: list(got["join"]),
		SecretFile: got["cluster-secret-file"], Peer: got["peer"], PeerAdvertise: got["peer-advertise"], BlobStore: got["blob-store"],
		NATS: got["nats"], NATSCreds: got["nats-creds"], NATSNkey: got["nats-nkey"], NATSCA: got["nats-ca"],
		NATSCert: got["nats-cert"], NATSKey: got["nats-key"], NATSDomain: got["nats-domain"],
	}
	var err error
	if text := got["nats-replicas"]; text != "" {
		c.NATSReplicas, err = strconv.Atoi(text)
	}
	return c, err
}

// list splits at commas, and drops what is empty.
func list(value string) []string {
	var out []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func addresses(value string) error {
	all := list(value)
	if len(all) == 0 {
		return errors.New("is empty")
	}
	for _, addr := range all {
		if err := address(addr); err != nil {
			return fmt.Errorf("%q: %w", addr, err)
		}
	}
	return nil
}

func clusterName(value string) error {
	const most = 63
	if value == "" || len(value) > most {
		return fmt.Errorf("want 1 to %d characters", most)
	}
	for _, r := range value {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return errors.New("want letters, digits, - and _ only")
		}
	}
	return nil
}

func natsURL(value string) error {
	for _, u := range list(value) {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok || rest == "" {
			return errors.New("want a URL such as nats://HOST:4222 or tls://HOST:4222")
		}
		switch scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("scheme %q is not one of nats, tls, ws and wss", scheme)
		}
	}
	return nil
}

func replicas(value string) error {
	switch value {
	case "1", "3", "5":
		return nil
	}
	return errors.New("want 1, 3 or 5")
}
