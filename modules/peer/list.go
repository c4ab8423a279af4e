package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/orla-edge/orla/modules"
)

// maxList is how many digests one request may name.
const maxList = 10_000

// lineSize is the size in bytes of a digest and its line's end.
var lineSize = len(modules.Digest{}.String()) + 1

var errList = fmt.Errorf("peer: want at most %d digests, each on a line", maxList)

// readDigests reads a list of digests, one a line. It reads at most one line more
// than the longest list has.
func readDigests(r io.Reader) ([]modules.Digest, error) {
	lines := bufio.NewScanner(io.LimitReader(r, int64((maxList+1)*lineSize)))
	lines.Buffer(make([]byte, 0, lineSize+1), lineSize+1)
	var list []modules.Digest
	for lines.Scan() {
		d, err := modules.ParseDigest(lines.Text())
		if err != nil || len(list) == maxList {
			return nil, errors.Join(errList, err)
		}
		list = append(list, d)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errList, err)
	}
	return list, nil
}

// formatDigests writes the form that readDigests reads.
func formatDigests(list []modules.Digest) []byte {
	b := make([]byte, 0, len(list)*lineSize)
	for _, d := range list {
		b = append(b, d.String()...)
		b = append(b, '\n')
	}
	return slices.Clip(b)
}
