package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// benchEntries makes as many entries of certificates, each sealed for its own place, with
// one key: to make 100,000 would take longer than what is measured.
func benchEntries(b *testing.B, s Sealer, count int) (names []string, entries []Entry) {
	b.Helper()
	m := open(b, Config{}, "bench.example")
	cert, err := m.certificate(b.Context(), "bench.example")
	if err != nil {
		b.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		chain = append(chain, c)
	}
	for i := range count {
		name := fmt.Sprintf("h%d.bench.example", i)
		record, err := newRecord(s, name, chain, cert.PrivateKey)
		if err != nil {
			b.Fatal(err)
		}
		value, err := proto.Marshal(record)
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, name)
		entries = append(entries, Entry{Key: subjectKey(certPrefix, name), Value: value, Revision: uint64(i + 1)})
	}
	return names, entries
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func benchManager(b *testing.B, s Sealer) *Manager {
	b.Helper()
	return open(b, Config{
		Mode: ModeACME, Dir: filepath.Join(b.TempDir(), "certs"), Node: "n1", Register: newShared().as("n1"), Sealer: s,
		Hosts: func(host string) bool { return len(host) > 14 && host[len(host)-14:] == ".bench.example" },
	})
}

// BenchmarkIndex says what certificates of the register cost in memory, before and after
// the first handshakes for all of them, and how long the full set takes.
func BenchmarkIndex(b *testing.B) {
	key := testKey(b)
	const count = 100_000
	names, entries := benchEntries(b, key, count)
	for b.Loop() {
		m := benchManager(b, key)
		before := heap()
		start := time.Now()
		if err := m.Apply(true, entries); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		idle := heap()
		for _, name := range names {
			if cert, err := m.certificate(context.Background(), name); cert == nil || err != nil {
				b.Fatal(name, err)
			}
		}
		used := heap()
		b.ReportMetric(float64(took.Milliseconds()), "apply-ms")
		b.ReportMetric((idle-before)/count, "B/cert")
		b.ReportMetric((used-before)/count, "B/cert-used")
		runtime.KeepAlive(m)
	}
	runtime.KeepAlive(entries)
}

// BenchmarkHandshakes compares handshakes beside 10 certificates with those beside
// 100,000, and those while strangers ask for 10,000 names that nobody has.
func BenchmarkHandshakes(b *testing.B) {
	key := testKey(b)
	names, entries := benchEntries(b, key, 100_000)
	few, many := benchManager(b, key), benchManager(b, key)
	if err := few.Apply(true, entries[:10]); err != nil {
		b.Fatal(err)
	}
	if err := many.Apply(true, entries); err != nil {
		b.Fatal(err)
	}
	fewAt, manyAt := listen(b, few), listen(b, many)
	const rounds = 1000
	for b.Loop() {
		var small, large []time.Duration
		for i := range rounds { // in turns: the machine is not always the same
			small = append(small, timed(b, fewAt, names[i%10]))
			large = append(large, timed(b, manyAt, names[i*97%len(names)]))
		}
		b.ReportMetric(percentile(small, 50), "p50-10-µs")
		b.ReportMetric(percentile(large, 50), "p50-100k-µs")
		b.ReportMetric(percentile(large, 99), "p99-quiet-µs")
		var strangers sync.WaitGroup
		var busy []time.Duration
		done := make(chan struct{})
		strangers.Go(func() {
			defer close(done)
			for i := range 10_000 {
				c, err := tls.Dial("tcp", manyAt.String(), &tls.Config{ServerName: fmt.Sprintf("x%d.nobody.example", i), InsecureSkipVerify: true}) //nolint:gosec // it is refused
				if err == nil {
					c.Close()
					b.Error("a name that nobody has was served")
				}
			}
		})
		for i, going := 0, true; going; i++ {
			busy = append(busy, timed(b, manyAt, names[i*89%len(names)]))
			select {
			case <-done:
				going = false
			default:
			}
		}
		strangers.Wait()
		b.ReportMetric(percentile(busy, 99), "p99-strangers-µs")
	}
}

func timed(b *testing.B, addr net.Addr, name string) time.Duration {
	b.Helper()
	start := time.Now()
	c, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // how long it takes is the question
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	c.Close()
	return took
}

func percentile(all []time.Duration, p int) float64 {
	slices.Sort(all)
	return float64(all[len(all)*p/100].Nanoseconds()) / 1000
}
