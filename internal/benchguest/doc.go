// Package benchguest measures what functions cost a whole node: many that nobody calls,
// and requests over HTTP beside other servers of small functions. What a single request
// costs is measured in runtime. It has no code of the product.
package benchguest
