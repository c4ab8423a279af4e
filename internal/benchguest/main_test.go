package benchguest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/orla-edge/orla/runtime/compile"
)

// TestMain is also the children that benchmarks start: what compiles, as "orla compile"
// does, and a server of net/http.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "compile":
			os.Exit(compile.Child(context.Background(), os.Args[2:], os.Stdin, os.Stderr))
		case "serve":
			fmt.Fprintln(os.Stderr, serve())
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello")
	}))
}
