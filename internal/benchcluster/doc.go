// Package benchcluster measures a cluster: how long a change takes to every node, how
// stale a node gets while hubs are killed, what a change costs where there are many
// route sets, and how long a large release takes. Each figure stands beside a floor or a
// peer of the same minute. It has no code of the product.
package benchcluster
