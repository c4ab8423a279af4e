package release

import (
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	minStack     = 64 << 10 // bytes
	maxStack     = 64 << 20 // bytes
	maxTable     = 100_000  // elements
	maxBody      = 16 << 30 // bytes
	maxLogBytes  = 16 << 20 // of one request
	maxLogLines  = 100_000  // a second
	maxHostCalls = 1_000_000_000
)

// isolation checks what the requests of a function share.
func (v *validator) isolation(field string, i orlav1.Isolation) {
	if _, known := orlav1.Isolation_name[int32(i)]; !known {
		v.reject(field, "%d is no isolation that this version knows; update the node if a newer one does", i)
	}
}

// limits checks what bounds a request of a function. Zero is the node's default.
func (v *validator) limits(field string, l *orlav1.Limits) {
	for _, c := range []struct {
		key           string
		n, least, max int64
		advice        string
	}{
		{"stack", l.GetStackBytes(), minStack, maxStack, "bytes of stack cannot be had; write 64KiB to 64MiB"},
		{"table", int64(l.GetTableElements()), 1, maxTable, "elements of a table cannot be had; write 1 to 100000"},
		{"request_body", l.GetRequestBodyBytes(), 1, maxBody, "bytes are no limit of a body; write 1B to 16GiB"},
		{"response_body", l.GetResponseBodyBytes(), 1, maxBody, "bytes are no limit of a body; write 1B to 16GiB"},
		{"log", l.GetLogBytes(), 1, maxLogBytes, "bytes are no limit of what a request logs; write 1B to 16MiB"},
		{"log_rate", int64(l.GetLogLinesPerSecond()), 1, maxLogLines, "lines a second are no limit of a log; write 1 to 100000"},
		{"host_calls", l.GetHostCalls(), 1, maxHostCalls, "calls are no limit of a request; write 1 to 1000000000"},
	} {
		if c.n != 0 && (c.n < c.least || c.n > c.max) {
			v.reject(field+"."+c.key, "%d %s, or leave it out for the node's default", c.n, c.advice)
		}
	}
}
