// Package hostile generates the modules of guests that mean harm, or are broken beyond
// what a toolchain would emit: what a node must survive. It encodes them itself, knows
// nothing of how a node defends itself, and says of each only what has to come of it.
package hostile
