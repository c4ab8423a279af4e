package site

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// byteRange is length bytes from start, never empty.
type byteRange struct {
	start, length int64
}

func (r byteRange) end() int64 { return r.start + r.length }

// contentRange returns the field's value for r of a content of size bytes.
func (r byteRange) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.start, r.end()-1, size)
}

const (
	// maxRanges is how many ranges a request may name. With more, and with more than
	// maxRangeBytes of field, it gets all of the content (RFC 9110 §14.2 lets a
	// server ignore such fields; §17.15 says why).
	maxRanges     = 16
	maxRangeBytes = 512
	// mergeGap is the gap up to which two ranges are sent as one: the head of a part
	// costs more (RFC 9110 §15.3.7.2).
	mergeGap = 80
)

// rangeAnswer is what becomes of a Range field.
type rangeAnswer uint8

const (
	// rangeIgnored: the answer is the whole content.
	rangeIgnored rangeAnswer = iota
	// rangePartial: the answer is 206 with the ranges.
	rangePartial
	// rangeUnsatisfiable: the answer is 416.
	rangeUnsatisfiable
)

// parseRange reads a Range field for a content of size bytes (RFC 9110 §14.1.2,
// §14.2). The ranges that it returns are in ascending order, and those that overlap
// or nearly touch are one. Fields that are malformed, of an unknown unit or over
// the limits are ignored, and all are for an empty content, of which no range can
// be written.
func parseRange(field string, size int64) ([]byteRange, rangeAnswer) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(unit, "bytes") || len(field) > maxRangeBytes || size == 0 {
		return nil, rangeIgnored
	}
	var ranges []byteRange
	named := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		if named++; named > maxRanges {
			return nil, rangeIgnored
		}
		r, ok := parseRangeSpec(spec, size)
		if !ok {
			return nil, rangeIgnored
		}
		if r.length > 0 {
			ranges = append(ranges, r)
		}
	}
	switch {
	case named == 0:
		return nil, rangeIgnored
	case len(ranges) == 0:
		return nil, rangeUnsatisfiable
	}
	return merge(ranges), rangePartial
}

// parseRangeSpec reads "first-", "first-last" or "-suffix". The range is empty if it
// is beyond the content; ok is false if the spec is malformed.
func parseRangeSpec(spec string, size int64) (r byteRange, ok bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return byteRange{}, false
	}
	if first == "" {
		suffix, ok := parsePos(last)
		suffix = min(suffix, size)
		return byteRange{start: size - suffix, length: suffix}, ok
	}
	start, ok := parsePos(first)
	if !ok {
		return byteRange{}, false
	}
	end := int64(math.MaxInt64)
	if last != "" {
		if end, ok = parsePos(last); !ok || end < start {
			return byteRange{}, false
		}
	}
	if start >= size {
		return byteRange{}, true
	}
	return byteRange{start: start, length: min(end, size-1) - start + 1}, true
}

// parsePos reads 1*DIGIT; what exceeds an int64 is as good as its maximum.
func parsePos(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}

// merge sorts ranges and joins those that overlap or nearly touch, in place.
func merge(ranges []byteRange) []byteRange {
	slices.SortFunc(ranges, func(a, b byteRange) int { return cmp.Compare(a.start, b.start) })
	merged := ranges[:1]
	for _, r := range ranges[1:] {
		last := &merged[len(merged)-1]
		if r.start > last.end()+mergeGap {
			merged = append(merged, r)
			continue
		}
		last.length = max(last.end(), r.end()) - last.start
	}
	return merged
}
