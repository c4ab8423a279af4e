package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"syscall"
	"testing"
	"time"
)

// BenchmarkGet compares the whole way, client to node to app server, with the
// standard library's reverse proxy in the same place.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		body := bytes.Repeat([]byte{'x'}, size)
		base := upstreamAt(b, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(body)
		})
		to, err := url.Parse(base)
		if err != nil {
			b.Fatal(err)
		}
		bare := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.SetXForwarded()
			},
			Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true, IdleConnTimeout: time.Second},
			FlushInterval: -1,
		}
		n := nodeWith(b, Config{}, base)
		for _, h := range []struct {
			name    string
			handler http.Handler
		}{{"orla", n.proxy}, {"httputil", bare}} {
			b.Run(fmt.Sprintf("%s/%d", h.name, size), func(b *testing.B) { benchGet(b, h.handler, size) })
		}
		bare.Transport.(*http.Transport).CloseIdleConnections()
	}
}

func benchGet(b *testing.B, h http.Handler, size int) {
	s := httptest.NewServer(h)
	defer s.Close()
	c := s.Client()
	c.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), "GET", s.URL+"/path?q=1", nil)
			if err != nil {
				b.Fatal(err)
			}
			res, err := c.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err != nil || n != int64(size) {
				b.Fatalf("read %d bytes, %v", n, err)
			}
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the whole process has used: client, node and app server. On a
// shared machine it says more than the time that passed.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
