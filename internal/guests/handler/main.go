// Command handler is a guest in stock Go that uses all of package guest, for its tests.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/orla-edge/orla/guest"
)

func init() {
	mux := http.NewServeMux()
	mux.HandleFunc("/request", describe)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/log", logs)
	answers(mux)
	failures(mux)
	guest.Handle(mux)
}

func main() {}

func answers(mux *http.ServeMux) {
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("X-A", "1")
		w.Header().Add("X-A", "2")
		w.WriteHeader(http.StatusEarlyHints) // ignored
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK) // too late
		w.Header().Set("X-B", "too late")
	})
	mux.HandleFunc("/goroutines", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan string)
		go func() {
			time.Sleep(10 * time.Millisecond)
			done <- "done"
		}()
		select {
		case s := <-done:
			write(w, s)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		write(w, "begun")
		flush(w)
		<-r.Context().Done()
		slog.New(guest.LogHandler()).Info("the wait is over", "err", r.Context().Err())
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			write(w, strings.Repeat("x", 10_000))
		}
	})
	mux.HandleFunc("/long-header", func(w http.ResponseWriter, r *http.Request) {
		write(w, fmt.Sprint(len(r.Header.Get("X-Long")), " ", len(r.Header), " ", len(r.URL.RawQuery)))
	})
}

func failures(mux *http.ServeMux) {
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	mux.HandleFunc("/late-panic", func(w http.ResponseWriter, _ *http.Request) {
		write(w, "begun")
		flush(w)
		panic("on purpose")
	})
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/no-content", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "x"); err == nil {
			panic("a body with status 204")
		}
	})
	mux.HandleFunc("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, err := io.WriteString(w, "too long")
		write(w, "ok")
		if err == nil {
			panic("more than the Content-Length")
		}
	})
}

func logs(http.ResponseWriter, *http.Request) {
	log := slog.New(guest.LogHandler()).With("a", 1).WithGroup("g")
	log.Debug("debug")
	log.Info("info", "b", "two words")
	log.Warn("warn")
	log.Error("error", "msg", "kept")
	fmt.Println("to stdout")
	fmt.Fprintln(os.Stderr, "to stderr")
}

func write(w http.ResponseWriter, s string) {
	if _, err := io.WriteString(w, s); err != nil {
		panic(err)
	}
}

func flush(w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(err)
	}
}

// describe answers with the request as the handler sees it.
func describe(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "url": r.URL.String(), "uri": r.RequestURI, "host": r.Host, "proto": r.Proto, "major": r.ProtoMajor,
		"remote": r.RemoteAddr, "length": r.ContentLength, "body": string(body), "header": r.Header,
	}); err != nil {
		panic(err)
	}
}

func trailers(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(err)
	}
	w.Header().Set("Trailer", "X-Announced")
	write(w, fmt.Sprint(r.Trailer))
	w.Header().Set("X-Announced", "1")
	w.Header().Set(http.TrailerPrefix+"X-Late", "2")
}
