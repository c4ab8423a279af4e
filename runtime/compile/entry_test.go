package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

func FuzzParseEntry(f *testing.F) {
	sound := fmt.Sprintf(entryFormat, "wazero-v1/0123", 123, strings.Repeat("ab", 32))
	for _, seed := range []string{
		sound, "", sound[:20], strings.Replace(sound, "wazero-v1/", "../", 1), strings.Replace(sound, "123 ", "-1 ", 1),
		strings.Replace(sound, "0123 ", "../../x ", 1), strings.ToUpper(sound), sound + "\n", strings.Replace(sound, "123 ", "0x7b ", 1),
		strings.Replace(sound, "wazero-v1/", "/", 1), strings.Repeat("a", maxEntry+1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err != nil {
			return
		}
		if again := fmt.Appendf(nil, entryFormat, e.name, e.size, e.sum); !bytes.Equal(again, b) {
			t.Errorf("parseEntry(%q) = %+v, which is written %q", b, e, again)
		}
		if path := filepath.Join("/root", filepath.FromSlash(e.name)); filepath.Dir(filepath.Dir(path)) != "/root" {
			t.Errorf("parseEntry(%q) speaks of %s", b, path)
		}
		if e.size < 0 {
			t.Errorf("parseEntry(%q) has size %d", b, e.size)
		}
	})
}

func TestParseEntry(t *testing.T) {
	want := entry{name: "wazero-v1.12.0-amd64-linux/00ff", size: 1 << 30, sum: sum("x")}
	path := filepath.Join(t.TempDir(), "entry")
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := readEntry(path); err != nil || got != want {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("entry has mode %v, %v", info.Mode(), err)
	}
}

// The engine is held back from compiling by what it does with a context, which is
// nowhere promised.
func TestOnlyCached(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	engine := func() wazero.Runtime {
		cache, err := wazero.NewCompilationCacheWithDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		rt := wazero.NewRuntimeWithConfig(ctx, RuntimeConfig().WithCompilationCache(cache))
		t.Cleanup(func() {
			ctx := context.WithoutCancel(ctx)
			if err := errors.Join(rt.Close(ctx), cache.Close(ctx)); err != nil {
				t.Error(err)
			}
		})
		return rt
	}
	module := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x04\x01\x02\x00\x0b")
	if _, err := compileModule(onlyCached(ctx), engine(), module); !errors.Is(err, errMiss) {
		t.Errorf("without code in the cache = %v, want errMiss", err)
	}
	if _, err := compileModule(ctx, engine(), module); err != nil {
		t.Fatal(err)
	}
	if _, err := compileModule(onlyCached(ctx), engine(), module); err != nil {
		t.Errorf("with code in the cache = %v", err)
	}
}
