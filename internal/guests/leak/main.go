// A handler that leaks on purpose: see guests.Leaks.
package main

import (
	"fmt"
	"net/http"

	"github.com/orla-edge/orla/guest"
)

// limit is how many bytes of secrets are kept.
const limit = 4096

var (
	requests int
	fixed    [limit]byte // in the module's data
	kept     = make(map[int][]byte)
)

func init() { guest.Handle(http.HandlerFunc(leak)) }

func main() {}

// leak keeps each secret twice, on the heap and in a global, and tells the greater sum.
func leak(w http.ResponseWriter, r *http.Request) {
	requests++
	inData, inHeap := 0, 0
	for _, b := range fixed {
		if b != 0 {
			inData++
		}
	}
	for _, s := range kept {
		inHeap += len(s)
	}
	secret := r.Header.Get("X-Secret")
	copy(fixed[inData:], secret)
	if inHeap+len(secret) <= limit {
		kept[requests] = []byte(secret)
	}
	_, _ = fmt.Fprintf(w, "n=%d seen=%d", requests, max(inData, inHeap))
}
