package main

import (
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	tests := map[time.Duration]string{
		0: "–", 17 * time.Microsecond: "17 µs", 1234 * time.Microsecond: "1.2 ms", 56 * time.Millisecond: "56 ms",
		1500 * time.Millisecond: "1.5 s", 45 * time.Minute: "45 min",
	}
	for d, want := range tests {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestAmount(t *testing.T) {
	tests := map[int64]string{1234: "1.2 kB", 55_000: "55 kB", 1_500_000: "1.5 MB", 207_000_000: "207 MB", 3_500_000_000: "3.5 GB"}
	for b, want := range tests {
		if got := amount(b); got != want {
			t.Errorf("amount(%d) = %q, want %q", b, got, want)
		}
	}
}
