package guest

import "strings"

// splitNUL splits s into count strings, each of which ends with a NUL.
func splitNUL(s string, count int) []string {
	list := make([]string, 0, count)
	for range count {
		item, rest, found := strings.Cut(s, "\x00")
		if !found {
			break
		}
		list = append(list, item)
		s = rest
	}
	return list
}
