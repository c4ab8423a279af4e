package guest

import "strings"

// appendNUL appends count strings, each of which ends with a NUL in s.
func appendNUL(list []string, s string, count int) []string {
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
