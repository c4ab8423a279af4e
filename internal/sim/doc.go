// Package sim plays a change on its way from the hubs to thousands of nodes on a
// tree of leaf nodes, event by event, from costs that were measured on a real
// machine. It knows no NATS and measures nothing itself: [Params] come from
// internal/sim/measure, and internal/sim/plan prints what `make sim` shows.
//
// # The model
//
// A machine has cores and works first come, first served. A server takes a message
// for a fixed cost, then makes its copies one after the other, each for a fixed
// cost, and its network card sends them one after the other. A copy arrives after the
// link's latency and the idle delay of a hop, drawn from measured ones. A node that
// gets the change applies it, saves it and acknowledges.
//
// A push is proven: first the change is staged on every node and acknowledged,
// then it is committed, then it goes out again, is applied and acknowledged.
//
// A packet that is lost is sent again by TCP after [Retransmit] and a round trip. A
// message that is lost, with a connection or a slow reader, is noticed with the next
// heartbeat, and read from a hub. A server that dies takes the copies with it that
// it has not sent; those below it connect elsewhere and read what they lack.
//
// Each change is played alone, on idle machines, so that what several at once cost
// each other is not in it: the processor time of the busiest hub is, and bounds the rate.
package sim
