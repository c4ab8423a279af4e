// Package client is the admin API seen from outside: which node a person means
// and with what token, what an error means to them, and how a packed release
// gets there. It does not know how a node works.
package client
