// Package cluster is the register in NATS: entries under keys, changed by atomic
// compare-and-set, brought to this node by the edge sync, and kept on its disk as
// the last good state. It does not know what the entries mean.
//
// The register is one JetStream bucket, "orla". [Cluster.Commit] writes it,
// [Cluster.Get] and [Cluster.List] read it, and [Cluster.Run] hands every change
// to one function, which brings the node in line.
//
// # Revisions
//
// A revision is a sequence number of the bucket's stream, counted over all keys;
// 0 is the revision of a register that nothing was ever written to. The bucket's
// identity is (its stream's creation time, sequence). A bucket that is gone, was
// made anew or went backwards is not believed: what this node serves is never
// dropped for it. A node that runs alone builds it again from the last good state,
// with a first sequence above all that it has seen, so that revisions only ever
// rise; the keys keep their values and get new revisions.
//
// # The edge sync
//
// It is not a KV watch: a watch is a consumer that dies with its server. The stream
// republishes each message to a core subject. A session subscribes, fills up from
// its last contiguous sequence by batch direct get, then applies messages as long
// as their sequences are contiguous, and fills again after a gap, a reconnect, and
// whenever its check, once a second, finds the stream ahead. Changes that were
// committed together are handed on together: a live batch is held until the
// message that commits it, and a fill ends where the server says that nothing is
// pending, which it only does between batches.
//
// # On disk, below Config.Dir
//
//	orla.lock       locked while the directory is in use
//	nats/           the embedded server's store, and a file that says whose it is
//	state/          the last good state: three generations, the newest is used
package cluster
