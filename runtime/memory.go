package runtime

// memory is the linear memory of one instance: address space for all of its limit is
// reserved at first, so that growing neither copies nor moves it, and pages cost
// nothing until the guest writes to them.
type memory struct {
	limit uint64 // in bytes; growing beyond fails
	space []byte // nil before the first Reallocate, and after Free
}

// Reallocate implements experimental.LinearMemory: nil refuses to grow.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if m.space == nil && m.limit > 0 {
		space, err := reserve(int(m.limit))
		if err != nil {
			return nil
		}
		m.space = space
	}
	return m.space[:size:size]
}

// Free implements experimental.LinearMemory. It may be called again.
func (m *memory) Free() {
	if m.space != nil {
		unreserve(m.space)
		m.space = nil
	}
}
