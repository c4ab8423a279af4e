// Package router decides which route a request takes: it cleans hosts and paths,
// parses the patterns that people write, orders routes by precedence and matches
// requests without a lock and without an allocation. It does no I/O, starts no
// goroutine and does not know what a route leads to.
package router
