// Package site serves a release's static files as an [http.Handler], and makes
// their precompressed variants at deploy.
//
// It knows paths, media types, content codings, validators and ranges (RFC 9110),
// and reads content by digest. It does not know folders on a disk, releases, hosts
// or routes, and never asks a file system whether something is there: all that can
// be known about a response before the request comes is worked out in [New].
//
// # What a path answers
//
// Each file has one canonical URL path, which depends on the html mode; it answers
// 200 there and nowhere else. Every other spelling of the same page ("/about.html",
// "/about/", "/about/index" for "/about") answers 307 to the canonical path and
// keeps the query. A path that none of this finds is a 404, with the page that the
// not-found mode chooses.
//
// # Which bytes are sent
//
// A file's representations are its own bytes and its precompressed variants. Each
// has its own strong ETag, taken from its digest. Accept-Encoding selects one;
// preconditions and ranges then speak about that one, so a range of a compressed
// variant is a range of its compressed bytes.
package site
