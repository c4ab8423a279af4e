package main

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestFunctionStates(t *testing.T) {
	retry := time.Date(2026, 5, 4, 3, 2, 1, 0, time.Local)
	now := retry.Add(-time.Second)
	for _, tt := range []struct {
		name string
		f    *orlav1.FunctionState
		want string
	}{
		{"at rest", &orlav1.FunctionState{Loaded: true}, "ok"},
		{"nobody has asked", &orlav1.FunctionState{}, "not loaded"},
		{"closed again", &orlav1.FunctionState{Loaded: true, Circuit: &orlav1.Circuit{LastError: "trap", Opens: 3}}, "ok"},
		{"failing", &orlav1.FunctionState{Loaded: true, Circuit: &orlav1.Circuit{Failures: 2}}, "2 failures in a row"},
		{"open", &orlav1.FunctionState{Loaded: true, Circuit: &orlav1.Circuit{Open: true, Failures: 9, Retry: timestamppb.New(retry)}}, "keeps failing: 503 until 2026-05-04 03:02:01"},
		{"open, its rest over", &orlav1.FunctionState{Loaded: true, Circuit: &orlav1.Circuit{Open: true, Failures: 9, Retry: timestamppb.New(now)}}, "keeps failing: the next request tries it"},
	} {
		if got := functionOf(tt.f).state(now); got != tt.want {
			t.Errorf("%s: state %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestShowStates(t *testing.T) {
	out := new(bytes.Buffer)
	c := &console{out: out}
	err := c.showStates(&orlav1.GetAppResponse{Node: "n1", Functions: []*orlav1.FunctionState{{
		Function: "api", Abi: orlav1.Abi_ABI_CGI, Loaded: true, Mode: "PAGEMAP_SCAN", Idle: 3, Busy: 1, MemoryBytes: 3 << 20,
		Circuit: &orlav1.Circuit{Failures: 1, LastError: "wasm error:\x1b[31m unreachable\nwasm stack trace:\n\tmain"},
	}}})
	const want = "\nFUNCTION  NODE  STATE               BUSY  IDLE  MEMORY   RESET         LAST ERROR\n" +
		"api       n1    1 failure in a row  1     3     3.0 MiB  PAGEMAP_SCAN  wasm error: [31m unreachable\n"
	if err != nil || out.String() != want {
		t.Errorf("showStates prints\n%s%v\nwant\n%s", out, err, want)
	}
}
