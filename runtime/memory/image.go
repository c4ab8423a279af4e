package memory

import (
	"fmt"
	"sync/atomic"
)

const pageSize = 4096

// Image is the content that memories begin with. It is immutable, and shared by all
// memories made of it, also with respect to the machine's memory. It is safe for
// concurrent use.
type Image struct {
	size  uint64
	refs  atomic.Int64
	store store
	// blank tells of each page whether it is all zeros.
	blank []bool
}

// NewImage returns an Image of content, whose length is a multiple of 64 KiB. The
// caller closes it.
func NewImage(content []byte) (*Image, error) {
	i := &Image{size: uint64(len(content)), blank: make([]bool, len(content)/pageSize)}
	i.refs.Store(1)
	for n := range i.blank {
		i.blank[n] = isZero(content[n*pageSize : (n+1)*pageSize])
	}
	if err := i.store.open(content, i.blank); err != nil {
		return nil, fmt.Errorf("keep image of %d bytes: %w", len(content), err)
	}
	return i, nil
}

// Size returns the image's length in bytes.
func (i *Image) Size() uint64 { return i.size }

// Resident returns about how many bytes of the machine's memory the image takes.
func (i *Image) Resident() int64 {
	n := int64(0)
	for _, blank := range i.blank {
		if !blank {
			n += pageSize
		}
	}
	return n
}

// Close frees the image once the last memory made of it is freed.
func (i *Image) Close() { i.drop() }

func (i *Image) hold() { i.refs.Add(1) }

func (i *Image) drop() {
	if i.refs.Add(-1) == 0 {
		i.store.close()
	}
}

// restore makes the bytes of r in space those of the image, and zeros beyond its end.
func (i *Image) restore(space []byte, r run) {
	for at := r.from; at < r.to; {
		end := at + pageSize
		blank := i.isBlank(at)
		for end < r.to && i.isBlank(end) == blank {
			end += pageSize
		}
		if blank {
			clear(space[at:end])
		} else {
			copy(space[at:end], i.store.view[at:end])
		}
		at = end
	}
}

func (i *Image) isBlank(at uint64) bool { return at >= i.size || i.blank[at/pageSize] }

func isZero(page []byte) bool {
	for len(page) >= 8 {
		if page[0]|page[1]|page[2]|page[3]|page[4]|page[5]|page[6]|page[7] != 0 {
			return false
		}
		page = page[8:]
	}
	return true
}
