package release

// maxWord is the longest word in bytes that Nearest compares.
const maxWord = 64

// Nearest returns the word of known that is likely to be meant by word: the one
// with the fewest single-byte edits between them (Levenshtein), the first of
// several. It returns "" if none is near: more than one edit in three bytes.
func Nearest(word string, known []string) string {
	best, fewest := "", len(word)/3+1
	if len(word) > maxWord {
		return ""
	}
	for _, k := range known {
		if len(k) > maxWord || len(k)-len(word) > fewest || len(word)-len(k) > fewest {
			continue
		}
		d := edits(word, k)
		if d < len(k) && (d < fewest || d == fewest && best == "") {
			best, fewest = k, d
		}
	}
	return best
}

// edits returns how many insertions, deletions and replacements turn a into b.
// Both are at most maxWord long.
func edits(a, b string) int {
	var row [maxWord + 1]int // from a[:i] to each b[:j]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
