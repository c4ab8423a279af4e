package dispatch

import (
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// FunctionState is how a function of a live release is on this node.
type FunctionState struct {
	Name    string
	ABI     orlav1.Abi
	Circuit runtime.Circuit
	Stats   runtime.Stats
}

// Functions tells how the functions of a release that is served under name are, in
// the manifest's order; nil if this node does not serve it.
func (d *Dispatcher) Functions(name string, release uint64) []FunctionState {
	r := d.Keep(name, release)
	if r == nil {
		return nil
	}
	defer r.leave()
	var states []FunctionState
	for _, f := range r.Manifest.GetFunctions() {
		p := r.programs[f.GetName()]
		states = append(states, FunctionState{Name: f.GetName(), ABI: p.ABI(), Circuit: p.Circuit(), Stats: p.Stats()})
	}
	return states
}
