// Package faults does to clusters of real nodes what happens to them: kills, pauses,
// partitions, full disks, wrong clocks, bad releases. It is tests only, and knows of the
// product what its users know: what is served, and the API.
//
// In every test a prober asks all nodes that run for what they serve, and none of its
// requests may fail; no node's revision may go back; what was acknowledged is there in
// the end, on all nodes, which are at one revision.
package faults
