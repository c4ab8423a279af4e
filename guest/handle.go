package guest

import "net/http"

// handler is what Handle was given.
var handler http.Handler

// Handle makes h answer the requests of this program. Call it once, from an init
// function. It panics if h is nil or if it was called before.
func Handle(h http.Handler) {
	if h == nil {
		panic("guest: Handle of nil")
	}
	if handler != nil {
		panic("guest: Handle called twice")
	}
	handler = h
	warm()
}
