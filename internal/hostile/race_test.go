//go:build race

package hostile

// raceEnabled tells that everything takes some ten times as long, and more memory.
const raceEnabled = true
