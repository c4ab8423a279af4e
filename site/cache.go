package site

import (
	"math"

	"github.com/maypok86/otter/v2"

	"github.com/orla-edge/orla/modules"
)

// maxCachedBytes is the largest content that is kept in memory. Over TCP, writing
// from memory takes 0.6 of sendfile's time at 64 KiB and 0.3 at 1 MiB, over TLS
// there is no sendfile at all; the limit is for the cache's sake, which larger
// contents would empty of many small ones.
const maxCachedBytes = 512 << 10

// Cache keeps small contents in memory by their digest, for all sites of a process
// and across their releases. What is asked for often stays (W-TinyLFU), so that a
// crawl does not displace it. It is safe for concurrent use and needs no closing.
type Cache struct {
	blobs *otter.Cache[modules.Digest, []byte]
}

// NewCache returns a cache of at most maxBytes of content; zero or less means 64
// MiB.
func NewCache(maxBytes int64) *Cache {
	if maxBytes <= 0 {
		maxBytes = 64 << 20
	}
	return &Cache{blobs: otter.Must(&otter.Options[modules.Digest, []byte]{
		MaximumWeight: uint64(maxBytes),
		Weigher: func(_ modules.Digest, blob []byte) uint32 {
			const overhead = 128 // of an entry, about
			return uint32(min(len(blob)+overhead, math.MaxUint32))
		},
	})}
}

// get returns a cached content, which nobody may change.
func (c *Cache) get(d modules.Digest) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.blobs.GetIfPresent(d)
}

func (c *Cache) put(d modules.Digest, blob []byte) {
	if c != nil {
		c.blobs.Set(d, blob)
	}
}
