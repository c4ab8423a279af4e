package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type lazy struct{ v string }

func (l lazy) LogValue() slog.Value { return slog.StringValue(l.v) }

func TestTailKeepsRecordsOfApps(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want []Attr // of the one record of app "shop"; nil means that there is none
	}{
		{"own attribute", func(l *slog.Logger) { l.Info("m", "app", "shop", "status", 200) }, []Attr{{"status", "200"}}},
		{"logger's attribute", func(l *slog.Logger) { l.With("app", "shop", "release", 3).Info("m", "d", time.Second) }, []Attr{{"release", "3"}, {"d", "1s"}}},
		{"own wins over the logger's", func(l *slog.Logger) { l.With("app", "other").Info("m", "app", "shop") }, []Attr{}},
		{"group after the logger's app", func(l *slog.Logger) { l.With("app", "shop").WithGroup("http").Info("m", "status", 200) }, []Attr{{"http.status", "200"}}},
		{"nested groups", func(l *slog.Logger) {
			l.Info("m", "app", "shop", slog.Group("a", slog.Group("b", "c", true), "d", errors.New("bad")))
		}, []Attr{{"a.b.c", "true"}, {"a.d", "bad"}}},
		{"lazy values", func(l *slog.Logger) { l.Info("m", "app", lazy{"shop"}, "v", lazy{"x"}) }, []Attr{{"v", "x"}}},
		{"empty attribute", func(l *slog.Logger) {
			l.LogAttrs(context.Background(), slog.LevelInfo, "m", slog.String("app", "shop"), slog.Attr{})
		}, []Attr{}},
		{"long value", func(l *slog.Logger) { l.Info("m", "app", "shop", "v", strings.Repeat("é", maxValue)) }, []Attr{{"v", strings.Repeat("é", maxValue/2) + "…"}}},
		{"no app", func(l *slog.Logger) { l.Info("m", "status", 200) }, nil},
		{"app inside a group", func(l *slog.Logger) { l.WithGroup("g").Info("m", "app", "shop") }, nil},
		{"app inside a group value", func(l *slog.Logger) { l.Info("m", slog.Group("g", "app", "shop")) }, nil},
		{"app added inside a group", func(l *slog.Logger) { l.WithGroup("g").With("app", "shop").Info("m") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tail := NewTail(TailConfig{})
			tt.log(slog.New(tail.Handler()))
			got := tail.Recent("shop", 10)
			if tt.want == nil {
				if len(got) != 0 {
					t.Fatalf("Recent = %v, want none", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("Recent returned %d records, want 1", len(got))
			}
			if diff := cmp.Diff(tt.want, got[0].Attrs); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

// say logs a message that is not constant, as guests do.
func say(l *slog.Logger, message string, args ...any) {
	l.Info(message, args...) //nolint:sloglint // see above
}

func messages(rs []Record) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Message)
	}
	return strings.Join(out, " ")
}

func TestTailKeepsTheLastRecords(t *testing.T) {
	tail := NewTail(TailConfig{Records: 40})
	l := slog.New(tail.Handler()).With("app", "shop")
	for i := range 101 {
		say(l, fmt.Sprint(i))
	}
	if got := len(tail.Recent("shop", 1000)); got != 40 {
		t.Errorf("Recent(1000) returned %d records, want 40", got)
	}
	if got, want := messages(tail.Recent("shop", 3)), "98 99 100"; got != want {
		t.Errorf("Recent(3) = %q, want %q", got, want)
	}
	if got := tail.Recent("shop", -1); len(got) != 0 {
		t.Errorf("Recent(-1) = %v, want none", got)
	}
}

func TestTailIsBoundedInBytes(t *testing.T) {
	const limit = 64 << 10
	tail := NewTail(TailConfig{Bytes: limit})
	l := slog.New(tail.Handler()).With("app", "shop")
	for range 100 {
		say(l, strings.Repeat("m", 1000), "v", strings.Repeat("v", 1000))
	}
	n := 0
	for _, r := range tail.Recent("shop", 1000) {
		n += len(r.Message) + len(r.Attrs[0].Value)
	}
	if n == 0 || n > limit {
		t.Errorf("%d bytes are kept, want more than 0 and at most %d", n, limit)
	}
	say(l, strings.Repeat("m", 10*maxMessage))
	if got := len(tail.Recent("shop", 1)[0].Message); got > maxMessage+len("…") {
		t.Errorf("a message of %d bytes is kept, want at most %d", got, maxMessage)
	}
}

func TestTailIsBoundedInApps(t *testing.T) {
	tail := NewTail(TailConfig{Apps: 3})
	l := slog.New(tail.Handler())
	for _, app := range []string{"a", "b", "c", "a"} {
		l.Info("m", "app", app)
	}
	_, cancel := tail.Subscribe("b") // b is the oldest, but somebody follows it
	defer cancel()
	l.Info("m", "app", "d")
	for app, want := range map[string]int{"a": 2, "b": 1, "c": 0, "d": 1} {
		if got := len(tail.Recent(app, 10)); got != want {
			t.Errorf("%d records of app %q are kept, want %d", got, app, want)
		}
	}
}

func TestFollowHasNoGapAndNoOverlap(t *testing.T) {
	tail := NewTail(TailConfig{Records: 10_000, Backlog: 10_000})
	l := slog.New(tail.Handler()).With("app", "shop")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 2000 {
			say(l, fmt.Sprint(i))
		}
	})
	recent, live, cancel := tail.Follow("shop", 10_000)
	wg.Wait()
	cancel()
	cancel() // may be called again
	for r := range live {
		recent = append(recent, r)
	}
	if len(recent) != 2000 {
		t.Fatalf("followed %d records, want 2000", len(recent))
	}
	for i, r := range recent {
		if r.Message != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, r.Message)
		}
	}
}

func TestSlowSubscriberIsToldWhatItMissed(t *testing.T) {
	tail := NewTail(TailConfig{Backlog: 4})
	l := slog.New(tail.Handler()).With("app", "shop")
	live, cancel := tail.Subscribe("shop")
	for i := range 10 {
		say(l, fmt.Sprint(i)) // would block here
	}
	for range 4 {
		<-live
	}
	l.Info("later")
	cancel()
	got := []Record{}
	for r := range live {
		got = append(got, r)
	}
	if m, want := messages(got), "dropped 6 records later"; m != want {
		t.Fatalf("after the backlog came %q, want %q", m, want)
	}
	if diff := cmp.Diff([]Attr{{KeyDropped, "6"}}, got[0].Attrs); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestForgetEndsSubscriptions(t *testing.T) {
	tail := NewTail(TailConfig{})
	l := slog.New(tail.Handler()).With("app", "shop")
	live, cancel := tail.Subscribe("shop")
	defer cancel()
	l.Info("one")
	tail.Forget("shop")
	tail.Forget("shop")
	if r := <-live; r.Message != "one" {
		t.Errorf("first record is %q", r.Message)
	}
	if r, ok := <-live; ok {
		t.Errorf("the channel is open after Forget and has %q", r.Message)
	}
	l.Info("two")
	if got, want := messages(tail.Recent("shop", 10)), "two"; got != want {
		t.Errorf("Recent = %q, want %q", got, want)
	}
}

func TestTailUnderConcurrency(t *testing.T) {
	tail := NewTail(TailConfig{Apps: 2, Records: 5, Backlog: 2})
	l := slog.New(tail.Handler())
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				app := fmt.Sprint((g + i) % 4)
				l.Info("m", "app", app)
				switch i % 5 {
				case 0:
					_, live, cancel := tail.Follow(app, 3)
					l.Info("m", "app", app)
					cancel()
					for range live {
						continue
					}
				case 1:
					tail.Forget(app)
				default:
					tail.Recent(app, 3)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLog(b *testing.B) {
	line := func(l *slog.Logger) {
		l.LogAttrs(context.Background(), slog.LevelInfo, "request",
			slog.String(KeyApp, "shop"), slog.String(KeyMethod, "GET"), slog.String(KeyPath, "/index.html"),
			slog.Int(KeyStatus, 200), slog.Duration(KeyDuration, 27*time.Microsecond), slog.String(KeyRequestID, "0123456789abcdef"))
	}
	discard, err := newOutput(Config{Output: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]slog.Handler{
		"text alone":    discard,
		"tail alone":    NewTail(TailConfig{}).Handler(),
		"text and tail": newHandler(discard, NewTail(TailConfig{}), nil, nil),
	} {
		b.Run(name, func(b *testing.B) {
			l := slog.New(h)
			b.ReportAllocs()
			for b.Loop() {
				line(l)
			}
		})
	}
}
