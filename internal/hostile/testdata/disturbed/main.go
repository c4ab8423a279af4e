// A handler that leaves behind what it can, and then does what the path says.
package main

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/orla-edge/orla/guest"
)

var (
	requests int
	ticks    atomic.Int64
	kept     []string
	large    [][]byte
)

func init() { guest.Handle(http.HandlerFunc(disturb)) }

func main() {}

func disturb(w http.ResponseWriter, r *http.Request) {
	requests++
	seen := len(kept) + len(large) + int(ticks.Load())
	kept = append(kept, r.Header.Get("X-Secret"))
	act(r.URL.Path)
	_, _ = fmt.Fprintf(w, "n=%d seen=%d", requests, seen)
}

func act(path string) {
	switch path {
	case "/trap":
		trapped := make(chan int)
		go func() { trapped <- *(*int)(nil) }()
		<-trapped
	case "/exit":
		os.Exit(3)
	case "/grow":
		b := make([]byte, 4<<20)
		for i := range b {
			b[i] = 0xaa
		}
		large = append(large, b)
	case "/loop":
		for {
			requests++
		}
	case "/sleep":
		time.Sleep(time.Hour)
	case "/leave":
		go func() {
			for {
				ticks.Add(1)
				time.Sleep(time.Microsecond)
			}
		}()
	}
}
