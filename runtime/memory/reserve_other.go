//go:build !unix

package memory

func reserve(limit uint64, i *Image) ([]byte, error) {
	space := make([]byte, limit)
	if i != nil {
		copy(space, i.store.view)
	}
	return space, nil
}

func unreserve([]byte) {}
