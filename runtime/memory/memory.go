package memory

import (
	"errors"
	"fmt"
)

// ErrUnsupported is returned by [Memory.Reset] where the system offers no way.
var ErrUnsupported = errors.New("memory: this system has no way to reset a memory")

// Memory is the linear memory of one instance. Address space for all of its limit is
// reserved at first, so that growing neither copies nor moves it; pages cost nothing
// until they are written to. It is not safe for concurrent use.
type Memory struct {
	image *Image // nil: it begins as zeros
	share *Share
	limit uint64

	space   []byte // nil before the first Reallocate, and after Free
	size    uint64 // as of the last Reallocate
	high    uint64 // the largest size since the last time that all pages were given back
	taken   int64  // of the share
	refused bool

	// private are the pages that the last look found to differ from the image's, and
	// which the kernel has therefore given to this memory for good.
	private []run
	tracker tracker
}

// run is a range of bytes, whole pages.
type run struct{ from, to uint64 }

// New returns a Memory that begins as the image, or as zeros if there is none, and may
// grow to limit bytes, which are taken from the share as it does. It holds the image
// until Free.
func New(image *Image, limit uint64, share *Share) *Memory {
	if image != nil {
		image.hold()
	}
	return &Memory{image: image, limit: limit, share: share}
}

// Limit lowers the limit, before the first Reallocate.
func (m *Memory) Limit(most uint64) { m.limit = min(m.limit, most) }

// Size returns the bytes in use.
func (m *Memory) Size() uint64 { return m.size }

// Refused reports whether growing was refused since the last Reset.
func (m *Memory) Refused() bool { return m.refused }

// Bytes returns the bytes in use, valid until Free.
func (m *Memory) Bytes() []byte { return m.space[:m.size:m.size] }

// Reallocate makes the memory size bytes long. It returns nil if that is beyond the
// limit or the share. (The method set is that of wazero's experimental.LinearMemory.)
func (m *Memory) Reallocate(size uint64) []byte {
	if size > m.limit || !m.take(size) {
		m.refused = true
		return nil
	}
	if m.space == nil && m.limit > 0 {
		space, err := reserve(m.limit, m.image)
		if err != nil {
			m.refused = true
			return nil
		}
		m.space = space
	}
	m.size, m.high = size, max(m.high, size)
	return m.space[:size:size]
}

func (m *Memory) take(size uint64) bool {
	more := int64(size) - m.taken
	if more <= 0 {
		return true
	}
	if !m.share.Take(more) {
		return false
	}
	m.taken += more
	return true
}

// Free gives the memory back. It may be called again.
func (m *Memory) Free() {
	m.share.Give(m.taken)
	m.taken, m.size, m.high, m.private = 0, 0, 0, nil
	if m.space != nil {
		unreserve(m.space)
		m.space = nil
	}
	if m.image != nil {
		m.image.drop()
		m.image = nil
	}
}

// maxPrivate is how many bytes of private pages are kept and copied back at each
// reset; a memory with more gives them all to the kernel and begins anew.
const maxPrivate = 2 << 20

// Reset makes the memory equal to its image, also in size; whoever has the bytes of a
// larger one must ask for them again, by Reallocate. The caller says with faulted whether
// the kernel may have given the memory a page since the last Reset, as page faults of the
// threads that have written to it tell; if not, nothing but pages that were private
// then can differ now, and the kernel need not be asked.
func (m *Memory) Reset(faulted bool) error {
	m.refused = false
	if m.image == nil || m.space == nil {
		return ErrUnsupported
	}
	if faulted {
		runs, err := m.tracker.dirty(m.space[:m.high], m.private[:0])
		if err != nil {
			return err
		}
		m.private = runs
	}
	m.size = m.image.size
	if m.Private() > maxPrivate {
		return m.discard()
	}
	for _, r := range m.private {
		m.image.restore(m.space, r)
	}
	return nil
}

// Rebase makes the memory's present content its image, which it shares with nobody.
func (m *Memory) Rebase() error {
	image, err := NewImage(m.Bytes())
	if err != nil {
		return err
	}
	if err := remap(m.space, image); err != nil {
		image.Close()
		return err
	}
	if m.image != nil {
		m.image.drop()
	}
	m.image, m.private = image, m.private[:0]
	return nil
}

// discard gives all pages back to the kernel.
func (m *Memory) discard() error {
	if err := discard(m.space[:m.high]); err != nil {
		return fmt.Errorf("discard pages: %w", err)
	}
	m.private, m.high = m.private[:0], m.size
	if over := m.taken - int64(m.size); over > 0 {
		m.share.Give(over)
		m.taken -= over
	}
	return nil
}

// Private returns how many bytes the memory holds beside its image, as of the last Reset.
func (m *Memory) Private() uint64 {
	total := uint64(0)
	for _, r := range m.private {
		total += r.to - r.from
	}
	return total
}
