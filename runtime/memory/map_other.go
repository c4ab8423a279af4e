//go:build !linux

package memory

// Best returns the method that is in use on this system.
func Best() Method { return None }

type tracker struct{}

func (*tracker) dirty([]byte, []run) ([]run, error) { return nil, ErrUnsupported }

// store keeps an image's content in the process's memory.
type store struct{ view []byte }

func (s *store) open(content []byte, _ []bool) error {
	s.view = append([]byte(nil), content...)
	return nil
}

func (s *store) close() {}

func discard([]byte) error { return ErrUnsupported }

func remap([]byte, *Image) error { return ErrUnsupported }
