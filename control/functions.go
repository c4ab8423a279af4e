package control

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxErrorBytes is what is told of the cause of a function's failure.
const maxErrorBytes = 1 << 10

// functions tells how the functions of a release are on this node; empty unless the
// node serves it.
func (s *Service) functions(name string, release uint64) []*orlav1.FunctionState {
	states := s.cfg.Dispatcher.Functions(name, release)
	out := make([]*orlav1.FunctionState, 0, len(states))
	for _, f := range states {
		out = append(out, functionState(f))
	}
	return out
}

func functionState(f dispatch.FunctionState) *orlav1.FunctionState {
	c := &orlav1.Circuit{
		Open: f.Circuit.Open, Failures: count(f.Circuit.Failures), Opens: f.Circuit.Opens,
		// A guest has a say in it, and it need not be UTF-8.
		LastError: strings.ToValidUTF8(f.Circuit.LastError[:min(len(f.Circuit.LastError), maxErrorBytes)], "\uFFFD"),
	}
	if f.Circuit.Open && !f.Circuit.Retry.IsZero() {
		c.Retry = timestamppb.New(f.Circuit.Retry)
	}
	return &orlav1.FunctionState{
		Function: f.Name, Abi: f.ABI, Circuit: c, Idle: count(f.Stats.Idle), Busy: count(f.Stats.Busy),
		MemoryBytes: f.Stats.Memory, Mode: f.Stats.Mode, Loaded: f.Stats.Loaded,
	}
}

func count(n int) uint32 { return uint32(max(n, 0)) } //nolint:gosec // instances and failures of one node
