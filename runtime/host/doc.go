// Package host is what the guest ABIs share: one request and its answer as an
// [Exchange], header fields that may pass, and a guest's lines on their way to the
// log. It knows no engine and no particular ABI.
package host
