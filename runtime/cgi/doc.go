// Package cgi is the Common Gateway Interface as a guest sees it (RFC 3875, with
// the variables that WAGI and WCGI add): a request as environment variables, and a
// program's output as a response. It knows no engine; whoever runs the program
// gives it the environment, the request's body as standard input and an [Output] as
// standard output.
package cgi
