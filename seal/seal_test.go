package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/orla-edge/orla/seal"
)

func key(t testing.TB, b byte) *seal.Key {
	t.Helper()
	k, err := seal.New(bytes.Repeat([]byte{b}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealOpens(t *testing.T) {
	k := key(t, 1)
	for _, value := range []string{"", "x", strings.Repeat("long", 20_000)} {
		sealed, err := k.Seal([]byte(value), "a/1")
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(value)+seal.Overhead || len(value) > 3 && bytes.Contains(sealed, []byte(value)) {
			t.Errorf("%d bytes are sealed as %d, want %d that hide them", len(value), len(sealed), len(value)+seal.Overhead)
		}
		again, err := k.Seal([]byte(value), "a/1")
		if err != nil || bytes.Equal(sealed, again) {
			t.Errorf("sealed twice it is the same (%v)", err)
		}
		if got, err := k.Open(sealed, "a/1"); string(got) != value || err != nil {
			t.Errorf("Open = %.20q, %v", got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	k := key(t, 1)
	sealed, err := k.Seal([]byte("value"), "a/1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(sealed, "a/2"); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("at another place: %v", err)
	}
	if _, err := key(t, 2).Open(sealed, "a/1"); !errors.Is(err, seal.ErrKey) {
		t.Errorf("with another key: %v", err)
	}
	for n := range sealed {
		if _, err := k.Open(sealed[:n], "a/1"); err == nil {
			t.Errorf("opened %d of %d bytes", n, len(sealed))
		}
		damaged := bytes.Clone(sealed)
		damaged[n] ^= 1
		if _, err := k.Open(damaged, "a/1"); err == nil {
			t.Errorf("opened with byte %d changed", n)
		}
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := key(t, 'K')
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("message", "key", k)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x %d", k, k, k, k, k, k, k), log.String()} {
		if strings.Contains(text, "KKK") || strings.Contains(text, "4b4b") || strings.Contains(text, "75 75") {
			t.Errorf("the key prints as %q", text)
		}
	}
	if _, err := seal.New([]byte("short")); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short key: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	k := key(f, 1)
	sealed, err := k.Seal([]byte("value"), "a/1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if value, err := k.Open(b, "a/1"); err == nil && string(value) != "value" {
			t.Errorf("opened %x as %q", b, value)
		}
	})
}
