package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/orla-edge/orla/internal/guests"
)

// BenchmarkNode compares a request through the whole node (listener, limits,
// dispatch, access log) with net/http doing the same by hand, over loopback
// and keep-alive connections, client included in both.
func BenchmarkNode(b *testing.B) {
	small := strings.Repeat("0123456789abcdef", 64) // 1 KiB
	data := b.TempDir()
	urls := run(b, Config{Data: data, TLS: TLSOff})
	deploy(b, data, map[string]string{
		"orla.toml":        "name = \"bench\"\n[site]\ndir = \"public\"\n[functions.hello]\nmodule = \"hello.wasm\"\nroutes = [\"/hello/*\"]\nconcurrency = 256\n",
		"public/small.bin": small, "hello.wasm": string(guests.Go(b, "examples/go-handler")),
	})
	plain := http.NewServeMux()
	plain.HandleFunc("GET /small.bin", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, small)
	})
	plain.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", r.PathValue("name"))
	})
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: plain}
	go server.Serve(ln)
	defer server.Close()

	for _, path := range []string{"/small.bin", "/hello/bench"} {
		for name, base := range map[string]string{"orla": urls[0], "net-http": "http://" + ln.Addr().String()} {
			b.Run(strings.Trim(path, "/")+"/"+name, func(b *testing.B) {
				b.RunParallel(func(pb *testing.PB) {
					c := trustingNobody(b)
					for pb.Next() {
						if status, _ := get(b, c, base+path); status != http.StatusOK {
							b.Errorf("GET %s = %d", base+path, status)
							return
						}
					}
				})
			})
		}
	}
}
