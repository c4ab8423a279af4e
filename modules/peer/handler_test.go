package peer_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

func TestHandler(t *testing.T) {
	dir, _ := store(t)
	content := []byte("the bytes of a blob")
	dir.Put(content)
	has, lacks := modules.Sum(content).String(), modules.Sum(nil).String()
	etag := `"` + has + `"`
	tests := []struct {
		name, method, path string
		header, value      string
		body               string
		status             int
		want               string
	}{
		{"blob", "GET", "/blobs/" + has, "", "", "", 200, string(content)},
		{"head", "HEAD", "/blobs/" + has, "", "", "", 200, ""},
		{"rest", "GET", "/blobs/" + has, "Range", "bytes=4-", "", 206, "bytes of a blob"},
		{"behind the end", "GET", "/blobs/" + has, "Range", "bytes=19-", "", 416, ""},
		{"known", "GET", "/blobs/" + has, "If-None-Match", etag, "", 304, ""},
		{"absent", "GET", "/blobs/" + lacks, "", "", "", 404, "no such blob\n"},
		{"not a digest", "GET", "/blobs/" + has[:70], "", "", "", 400, "not a digest\n"},
		{"upper case", "GET", "/blobs/sha256:" + strings.ToUpper(has[7:]), "", "", "", 400, "not a digest\n"},
		{"a way out", "GET", "/blobs/..%2f..%2fetc%2fpasswd", "", "", "", 400, "not a digest\n"},
		{"list of the folder", "GET", "/blobs/", "", "", "", 404, ""},
		{"root", "GET", "/", "", "", "", 404, ""},
		{"put", "PUT", "/blobs/" + has, "", "", "x", 405, ""},
		{"delete", "DELETE", "/blobs/" + has, "", "", "", 405, ""},
		{"missing", "POST", "/blobs/missing", "", "", has + "\n" + lacks + "\n", 200, lacks + "\n"},
		{"missing of none", "POST", "/blobs/missing", "", "", "", 200, ""},
		{"missing of 10,000", "POST", "/blobs/missing", "", "", strings.Repeat(has+"\n", 10_000), 200, ""},
		{"missing of more", "POST", "/blobs/missing", "", "", strings.Repeat(has+"\n", 10_001), 400, ""},
		{"missing of nonsense", "POST", "/blobs/missing", "", "", "sha256:xyz\n", 400, ""},
		{"missing of a long line", "POST", "/blobs/missing", "", "", strings.Repeat("a", 1<<20), 400, ""},
	}
	h := peer.NewHandler(dir, peer.Limits{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			if tt.header != "" {
				r.Header.Set(tt.header, tt.value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%s %s = %d, want %d", tt.method, tt.path, w.Code, tt.status)
			}
			if got := w.Body.String(); got != tt.want && (tt.want != "" || tt.status < 300) {
				t.Errorf("body %q, want %q", got, tt.want)
			}
			if tt.status == 200 && strings.HasPrefix(tt.path, "/blobs/sha256") {
				if w.Header().Get("ETag") != etag || w.Header().Get("Content-Length") != "19" {
					t.Errorf("header %v", w.Header())
				}
			}
		})
	}
}

func TestStrangersAreNotServed(t *testing.T) {
	base, _ := node(t, identity(t), []byte("x"))
	f, _, _ := fetcher(t, identity(t), base)
	err := f.Ensure(t.Context(), []peer.Blob{blob([]byte("x"))})
	if !errors.Is(err, peer.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Ensure with another cluster's identity = %v", err)
	}
}

func TestHandlerServesSoManyAtATime(t *testing.T) {
	dir, _ := store(t)
	synctest.Test(t, func(t *testing.T) {
		h := peer.NewHandler(dir, peer.Limits{Requests: 1, Waiting: 1, Wait: 10 * time.Second})
		ask := func(body io.Reader) <-chan int {
			status := make(chan int, 1)
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("POST", "/blobs/missing", body))
				if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				status <- w.Code
			}()
			synctest.Wait()
			return status
		}
		body, hold := io.Pipe()
		began := time.Now()
		served := ask(body)
		patient := ask(nil)
		if got := <-ask(nil); got != http.StatusServiceUnavailable || time.Since(began) > 0 {
			t.Errorf("the third of two = %d after %v, want 503 at once", got, time.Since(began))
		}
		if got := <-patient; got != http.StatusServiceUnavailable || time.Since(began) != 10*time.Second {
			t.Errorf("the second = %d after %v, want 503 after 10 s", got, time.Since(began))
		}
		next := ask(nil)
		hold.Close()
		if a, b := <-served, <-next; a != http.StatusOK || b != http.StatusOK {
			t.Errorf("the first = %d, who waited for it = %d, want 200", a, b)
		}
	})
}

func FuzzHandler(f *testing.F) {
	dir, _ := store(f)
	content := []byte("the bytes of a blob")
	dir.Put(content)
	digest := modules.Sum(content).String()
	f.Add("GET", "/blobs/"+digest, "bytes=3-", "")
	f.Add("GET", "/blobs/"+digest, "bytes=0-0,2-2", "")
	f.Add("POST", "/blobs/missing", "", digest+"\n")
	f.Add("GET", "/blobs/%2e%2e%2ftmp", "", "")
	h := peer.NewHandler(dir, peer.Limits{})
	f.Fuzz(func(t *testing.T, method, path, ranges, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q %q = %d", method, path, w.Code)
		}
		if w.Code == http.StatusOK && method == "GET" && w.Body.String() != string(content) {
			t.Errorf("%q = %q", path, w.Body)
		}
	})
}
