package benchcluster

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// samples are the durations of one thing, and what it took of the processors.
type samples struct {
	took []time.Duration
	cpu  time.Duration
}

// time measures what do does.
func (s *samples) time(do func()) {
	cpu, start := processorTime(), time.Now()
	do()
	s.took = append(s.took, time.Since(start))
	s.cpu += processorTime() - cpu
}

// quantile is the nearest rank.
func (s *samples) quantile(q float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	slices.Sort(s.took)
	return s.took[min(int(q*float64(len(s.took))), len(s.took)-1)]
}

// String is p50, p99 and the slowest.
func (s *samples) String() string {
	if len(s.took) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s, %s, %s", short(s.quantile(0.5)), short(s.quantile(0.99)), short(s.quantile(1)))
}

// each is what one took of the processors.
func (s *samples) each() time.Duration { return s.cpu / time.Duration(len(s.took)) }

// short is a duration with two digits.
func short(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		switch {
		case d >= 10*unit:
			return d.Round(unit).String()
		case d >= unit:
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// load is the machine's, over the last minute.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg") // empty where there is none
	first, _, _ := strings.Cut(string(b), " ")
	return cmp.Or(first, "unknown")
}

// table prints figures when a benchmark ends, as the documents have them.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) print(b *testing.B) {
	b.Helper()
	line := func(cells []string) string { return "\n| " + strings.Join(cells, " | ") + " |" }
	out := line(t.head) + "\n|" + strings.Repeat("---|", len(t.head))
	for _, row := range t.rows {
		out += line(row)
	}
	fmt.Println(out) // Log would print it only if something failed
}

// syncer writes and syncs a file, which is what no durable change is quicker than.
type syncer struct{ f *os.File }

func newSyncer(tb testing.TB, dir string) syncer {
	tb.Helper()
	f, err := os.Create(filepath.Join(dir, "sync"))
	must(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	return syncer{f}
}

func (s syncer) sync(tb testing.TB) {
	tb.Helper()
	_, err := s.f.Write(make([]byte, 512))
	must(tb, err)
	must(tb, s.f.Sync())
}
