// Package benchcluster measures a cluster: how long a change takes to every node, how far
// nodes fall behind, and what a change costs where there are many keys or route sets. A
// push stands beside floors of the same minute. It has no code of the product.
package benchcluster
