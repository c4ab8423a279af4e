// Package peer moves blobs between the nodes of a cluster over HTTP: [NewHandler]
// serves a node's [modules.Dir], a [Fetcher] gets into one what it lacks, from
// other nodes and from stores they share. It knows digests and bytes. It does not
// know who its peers are: the caller gives it a client that proves this node's
// identity, and mounts the handler on a listener that asks for one.
//
//	GET  /blobs/DIGEST   the blob; Range as RFC 9110 has it, the digest as ETag
//	POST /blobs/missing  digests, one a line; the answer is those that the node lacks
//	POST /blobs/batch    digests, one a line; the answer is a frame for each, in order
//
// A frame is the length in bytes, 8 bytes in network order, and the blob; the
// length 2^64-1, with nothing behind it, stands for a blob that the node lacks.
package peer
