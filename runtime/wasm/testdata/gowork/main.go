// Work for guests in Go: each kind computes for a while and returns a checksum.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"sort"
)

func main() {}

type record struct {
	ID    int               `json:"id"`
	Name  string            `json:"name"`
	Tags  []string          `json:"tags"`
	Score float64           `json:"score"`
	Extra map[string]string `json:"extra"`
}

//go:wasmexport run
func run(kind, n int32) int64 {
	switch kind {
	case 0:
		return hash(n)
	case 1:
		return encode(n)
	case 2:
		return order(n)
	case 3:
		return int64(fib(n))
	}
	return loop(n)
}

func hash(n int32) int64 {
	b := make([]byte, 4096)
	for range n {
		s := sha256.Sum256(b)
		copy(b, s[:])
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func encode(n int32) (sum int64) {
	r := record{ID: 1, Name: "orla", Tags: []string{"edge", "shore"}, Score: 0.5, Extra: map[string]string{"a": "b", "c": "d"}}
	for i := range n {
		r.ID = int(i)
		b, err := json.Marshal(r)
		if err != nil {
			return -1
		}
		var back record
		if err := json.Unmarshal(b, &back); err != nil {
			return -1
		}
		sum += int64(len(b)) + int64(back.ID)
	}
	return sum
}

func order(n int32) (sum int64) {
	xs := make([]int, 5000)
	for i := range n {
		x := uint32(i + 1)
		for j := range xs {
			x = x*1664525 + 1013904223
			xs[j] = int(x >> 8)
		}
		sort.Ints(xs)
		sum += int64(xs[100])
	}
	return sum
}

func fib(n int32) int32 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func loop(n int32) (sum int64) {
	for i := range int64(n) {
		sum += i ^ sum>>3
	}
	return sum
}
