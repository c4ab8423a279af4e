package host_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/runtime/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flushes tells whether Flush has been called.
type flushes struct {
	http.ResponseWriter
	done atomic.Bool
}

func (f *flushes) Flush() { f.done.Store(true) }

func TestExchangeFlushesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &flushes{ResponseWriter: httptest.NewRecorder()}
		x := host.NewExchange(w, httptest.NewRequest("GET", "/", nil))
		defer x.Close()
		if err := x.Start(200); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(x, "now"); err != nil {
			t.Fatal(err)
		}
		if w.done.Load() {
			t.Error("flushed at once")
		}
		time.Sleep(10 * time.Millisecond) // virtual
		synctest.Wait()
		if !w.done.Load() {
			t.Error("not flushed after 10 ms")
		}
	})
}

func TestExchangeDoesNotFlushAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &flushes{ResponseWriter: httptest.NewRecorder()}
		x := host.NewExchange(w, httptest.NewRequest("GET", "/", nil))
		if err := x.Start(200); err != nil {
			t.Fatal(err)
		}
		x.Close()
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		if w.done.Load() {
			t.Error("flushed after Close, when the ResponseWriter is no longer ours")
		}
	})
}

func TestExchangeAfterStop(t *testing.T) {
	w := httptest.NewRecorder()
	x := host.NewExchange(w, httptest.NewRequest("POST", "/", strings.NewReader("body")))
	x.Stop()
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, host.ErrStopped) {
		t.Errorf("Read: %v, want ErrStopped", err)
	}
	if err := x.Start(200); !errors.Is(err, host.ErrStopped) || x.Started() {
		t.Errorf("Start: %v, started %v, want ErrStopped", err, x.Started())
	}
	x.Close()

	x = host.NewExchange(w, httptest.NewRequest("GET", "/", nil))
	if err := x.Start(200); err != nil {
		t.Fatal(err)
	}
	x.Stop()
	if _, err := io.WriteString(x, "x"); !errors.Is(err, host.ErrStopped) || !x.Started() {
		t.Errorf("Write: %v, want ErrStopped", err)
	}
	x.Close()
}

func TestExchangeWithoutBody(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		want   string
	}{{"GET", 200, "text"}, {"HEAD", 200, ""}, {"GET", 204, ""}, {"GET", 304, ""}} {
		w := httptest.NewRecorder()
		x := host.NewExchange(w, httptest.NewRequest(c.method, "/", nil))
		if err := x.Start(c.status); err != nil {
			t.Fatal(err)
		}
		if n, err := io.WriteString(x, "text"); n != 4 || err != nil {
			t.Errorf("%s %d: Write = %d, %v, want 4", c.method, c.status, n, err)
		}
		x.Close()
		if got := w.Body.String(); got != c.want {
			t.Errorf("%s %d: body %q, want %q", c.method, c.status, got, c.want)
		}
	}
}

// retainer keeps what it was given to write, as an HTTP/2 connection may.
type retainer struct {
	http.ResponseWriter
	kept [][]byte
}

func (r *retainer) Write(p []byte) (int, error) {
	r.kept = append(r.kept, p)
	return len(p), nil
}

func TestExchangeCopiesWhatTheGuestWrites(t *testing.T) {
	w := &retainer{ResponseWriter: httptest.NewRecorder()}
	x := host.NewExchange(w, httptest.NewRequest("GET", "/", nil))
	defer x.Close()
	if err := x.Start(200); err != nil {
		t.Fatal(err)
	}
	guest := []byte("before")
	if _, err := x.Write(guest); err != nil {
		t.Fatal(err)
	}
	copy(guest, "after!") // the guest runs on, and its memory is unmapped in the end
	x.Flush()
	if got := string(w.kept[0]); got != "before" {
		t.Errorf("the connection holds %q, want a copy of %q", got, "before")
	}
}

func TestCheckField(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"X-A", "1", true},
		{"x", "", true},
		{"X-A", "a\tb ü", true},
		{"", "1", false},
		{"a b", "1", false},
		{"a:", "1", false},
		{"a", "b\nc", false},
		{"a", "b\rc", false},
		{"a", "b\x00", false},
	} {
		if err := host.CheckField(c.name, c.value); (err == nil) != c.ok || err != nil && !errors.Is(err, host.ErrField) {
			t.Errorf("CheckField(%q, %q) = %v, want ok = %v", c.name, c.value, err, c.ok)
		}
	}
}

func TestFieldsThatDoNotPass(t *testing.T) {
	for name, want := range map[string][2]bool{ // hidden from guests, not theirs to set
		"Connection": {true, true}, "Transfer-Encoding": {true, true}, "Proxy": {true, false}, "Orla-Debug": {true, true},
		"X-Request-Id": {false, true}, "Server": {false, true}, "Authorization": {false, false}, "Set-Cookie": {false, false},
	} {
		if got := [2]bool{host.Hidden(name), host.Own(name)}; got != want {
			t.Errorf("%s: hidden, own = %v, want %v", name, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", host.MaxLine)
	for _, c := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"one line", []string{"a\n"}, []string{"a"}},
		{"two in one write", []string{"a\nb\n"}, []string{"a", "b"}},
		{"one in pieces", []string{"a", "b", "\n"}, []string{"ab"}},
		{"without an end", []string{"a\nb"}, []string{"a", "b"}},
		{"crlf and empty", []string{"a\r\n\n\r\nb\n"}, []string{"a", "b"}},
		{"the longest", []string{long + "\n"}, []string{long}},
		{"too long", []string{long + "yz", "more\nb\n"}, []string{long + "…", "b"}},
		{"not UTF-8", []string{"a\xffb\n"}, []string{"a\ufffdb"}},
	} {
		var got []string
		logger := slog.New(slog.NewTextHandler(new(bytes.Buffer), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.MessageKey {
				got = append(got, a.Value.String())
			}
			return a
		}}))
		w := host.NewLog(t.Context(), logger).Stream("stderr")
		for _, s := range c.writes {
			if n, err := io.WriteString(w, s); n != len(s) || err != nil {
				t.Errorf("%s: Write = %d, %v", c.name, n, err)
			}
		}
		w.Flush()
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: lines %.60q, want %.60q", c.name, got, c.want)
		}
	}
}

func TestLinesWithoutEndDoNotPileUp(t *testing.T) {
	var b bytes.Buffer
	w := host.NewLog(t.Context(), slog.New(slog.NewTextHandler(&b, nil))).Stream("stdout")
	piece := bytes.Repeat([]byte("x"), 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 64 {
		w.Write(piece)
	}
	runtime.ReadMemStats(&after)
	w.Flush()
	if held := after.TotalAlloc - before.TotalAlloc; held > 1<<20 || b.Len() > 2*host.MaxLine {
		t.Errorf("64 MiB without a line end take %d bytes and make a record of %d", held, b.Len())
	}
}

// lender remembers where it was asked to read to.
type lender struct{ p []byte }

func (l *lender) Read(p []byte) (int, error) {
	l.p = p
	return copy(p, "body"), io.EOF
}

func (*lender) Close() error { return nil }

// TestExchangeReadsBesideTheGuest: what is read while the guest's clock stands still must
// not go into its memory, whose writes are only looked for while it runs.
func TestExchangeReadsBesideTheGuest(t *testing.T) {
	body := new(lender)
	req := httptest.NewRequest("POST", "/", body)
	x := host.NewExchange(httptest.NewRecorder(), req)
	defer x.Close()
	p := make([]byte, 100)
	n, err := x.Read(p)
	if string(p[:n]) != "body" || !errors.Is(err, io.EOF) {
		t.Errorf("Read = %q, %v", p[:n], err)
	}
	if unsafe.SliceData(body.p) == unsafe.SliceData(p) {
		t.Error("the body was read into the guest's memory itself")
	}
}
