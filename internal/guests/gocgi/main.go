// Command gocgi is a CGI program in stock Go. It answers how often it has been asked, what
// is left of an earlier request, and what this one says.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"strings"
)

var count int

func main() {
	err := cgi.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		switch r.URL.Path {
		case "/panic":
			panic("on purpose")
		case "/grow":
			body = []byte(strings.Repeat("x", 8<<20))[:4]
		}
		_, _ = fmt.Fprintf(w, "n=%d %s %s %q %s", count, r.Method, r.URL.Path, body, os.Getenv("GREETING")) // the client may be gone
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
