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

// Functions tells how the functions of the live release of name are, in the manifest's
// order, and which release that is; 0 and nil if nothing of that name is live.
func (d *Dispatcher) Functions(name string) (release uint64, states []FunctionState) {
	r := d.Get(name)
	if r == nil || !r.enter() {
		return 0, nil
	}
	defer r.leave()
	for _, f := range r.Manifest.GetFunctions() {
		p := r.programs[f.GetName()]
		states = append(states, FunctionState{Name: f.GetName(), ABI: p.ABI(), Circuit: p.Circuit(), Stats: p.Stats()})
	}
	return r.Number, states
}
