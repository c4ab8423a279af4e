package memory

import (
	"bytes"
	"errors"
	"math/rand/v2"
	goruntime "runtime"
	"testing"
)

const mib = 1 << 20

// content returns bytes with zero pages among them.
func content(size int, r *rand.Rand) []byte {
	b := make([]byte, size)
	for at := 0; at < size; at += pageSize {
		if r.IntN(3) > 0 {
			b[at+r.IntN(pageSize)] = byte(1 + r.IntN(255))
		}
	}
	return b
}

func newMemory(t testing.TB, i *Image, limit uint64, method Method) *Memory {
	t.Helper()
	m := New(i, limit, NewShare(new(Budget)))
	m.tracker.force = method
	if m.Reallocate(i.Size()) == nil {
		t.Fatal("Reallocate refuses the image's size")
	}
	t.Cleanup(m.Free)
	return m
}

func newImage(t testing.TB, b []byte) *Image {
	t.Helper()
	i, err := NewImage(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func TestResetUndoesEveryWrite(t *testing.T) {
	for _, method := range []Method{Scan, Read, Discard} {
		t.Run(string(method), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			want := content(4*mib, r)
			i := newImage(t, want)
			a, b := newMemory(t, i, 8*mib, method), newMemory(t, i, 8*mib, method)
			for range 200 {
				for range r.IntN(40) {
					a.Bytes()[r.IntN(len(want))]++
				}
				if r.IntN(20) == 0 { // more than is copied back
					for at := 0; at < len(want); at += pageSize {
						a.Bytes()[at]++
					}
				}
				if !bytes.Equal(b.Bytes(), want) {
					t.Fatal("a write to one memory is seen in another")
				}
				if err := a.Reset(true); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(a.Bytes(), want) {
					t.Fatal("a write is left after Reset")
				}
			}
		})
	}
}

// TestFaultsTellOfNewPages: without a fault of the thread, what Reset knows is enough;
// with one it is not, so that the test would notice a count that stands still.
func TestFaultsTellOfNewPages(t *testing.T) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	r := rand.New(rand.NewPCG(3, 4))
	want := content(2*mib, r)
	m := newMemory(t, newImage(t, want), 2*mib, "")
	quiet, loud := 0, 0
	for n := range 2000 {
		before := Faults()
		for range 8 {
			m.Bytes()[r.IntN(8*pageSize)]++ // soon private
		}
		if n%50 == 49 {
			m.Bytes()[r.IntN(len(want))]++
		}
		faulted := Faults() != before
		if faulted {
			loud++
		} else {
			quiet++
		}
		if err := m.Reset(faulted); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), want) {
			t.Fatalf("a write is left after Reset(%v)", faulted)
		}
	}
	if quiet < 1000 || loud < 20 {
		t.Errorf("%d rounds without a fault and %d with: the count tells nothing", quiet, loud)
	}
	m.Bytes()[mib] ^= 1
	if err := m.Reset(false); err != nil {
		t.Fatal(err)
	}
	if m.Private() < mib && bytes.Equal(m.Bytes(), want) {
		t.Error("Reset(false) has found a write that it was not told of: the test proves nothing")
	}
}

func TestGrowing(t *testing.T) {
	budget := &Budget{Max: 6 * mib}
	i := newImage(t, make([]byte, mib))
	m := New(i, 4*mib, NewShare(budget))
	for _, c := range []struct {
		size uint64
		ok   bool
	}{{mib, true}, {2 * mib, true}, {5 * mib, false}, {4 * mib, true}} {
		if b := m.Reallocate(c.size); (b != nil) != c.ok || c.ok && uint64(len(b)) != c.size {
			t.Errorf("Reallocate(%d) = %d bytes, want ok %v", c.size, len(b), c.ok)
		}
	}
	if !m.Refused() {
		t.Error("Refused is false after a refusal")
	}
	for _, faulted := range []bool{true, false} {
		m.Bytes()[3*mib] = 7
		if err := m.Reset(faulted); err != nil || m.Size() != mib {
			t.Errorf("Reset of a grown memory: %v, %d bytes, want the image's", err, m.Size())
		}
		if b := m.Reallocate(4 * mib); b[3*mib] != 0 {
			t.Error("a write beyond the image is left after Reset")
		}
	}
	other := New(nil, 4*mib, NewShare(budget))
	if other.Reallocate(3*mib) != nil {
		t.Error("a memory beyond the budget")
	}
	if b := other.Reallocate(2 * mib); len(b) != 2*mib {
		t.Error("a memory within the budget is refused")
	}
	if err := other.Reset(true); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Reset without an image: %v", err)
	}
	clear(m.Bytes()[mib : 4*mib]) // every page is touched
	if err := m.Reset(true); err != nil || budget.Used() != 3*mib {
		t.Errorf("Reset of many pages: %v, %d bytes of the budget taken, want those of the image and of the other", err, budget.Used())
	}
	m.Free()
	m.Free()
	other.Free()
	if budget.Used() != 0 {
		t.Errorf("%d bytes of the budget are lost", budget.Used())
	}
}

func TestImageOutlivesItsCloseWhileMapped(t *testing.T) {
	i, err := NewImage(bytes.Repeat([]byte{7}, mib))
	if err != nil {
		t.Fatal(err)
	}
	m := New(i, mib, NewShare(new(Budget)))
	i.Close()
	if m.Reallocate(mib)[mib-1] != 7 {
		t.Error("the image is gone")
	}
	m.Bytes()[0] = 9
	if err := m.Reset(true); err != nil || m.Bytes()[0] != 7 {
		t.Errorf("Reset: %v", err)
	}
	m.Free()
}

func BenchmarkReset(b *testing.B) {
	for _, method := range []Method{"known", Scan, Read, Discard} {
		b.Run(string(method), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			force := method
			if method == "known" {
				force = ""
			}
			m := newMemory(b, newImage(b, content(10*mib, r)), 64*mib, force)
			for b.Loop() {
				for page := range 24 { // as many as a stock-Go handler dirties
					m.Bytes()[page*40*pageSize]++
				}
				if err := m.Reset(method != "known" || len(m.private) == 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
