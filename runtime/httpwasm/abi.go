package httpwasm

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The names of the ABI.
const (
	// Module is what guests import from.
	Module = "http_handler"
	// HandleRequest and HandleResponse are what guests export.
	HandleRequest  = "handle_request"
	HandleResponse = "handle_response"
)

// Feature is a bit of enable_features.
type Feature uint32

// The features, all of which this host offers.
const (
	BufferRequest Feature = 1 << iota
	BufferResponse
	Trailers

	allFeatures = BufferRequest | BufferResponse | Trailers

	// ClientGone is no feature, but an answer of this host alone: it is among the bits
	// that enable_features returns once the client has gone, so that a guest that asks
	// now and then can give up.
	ClientGone Feature = 1 << 31
)

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// function is one host function: i32 parameters, and at most one result.
type function struct {
	name    string
	params  int
	results []api.ValueType
	// call takes the parameters in a and returns the result, if there is one. The
	// upper halves of a have been cleared.
	call func(g *guest, a []uint64) uint64
}

func functions() []function {
	none, one, two := []api.ValueType(nil), []api.ValueType{i32}, []api.ValueType{i64}
	return []function{
		{"enable_features", 1, one, (*guest).enableFeatures},
		{"get_config", 2, one, (*guest).getConfig},
		{"log", 3, none, (*guest).log},
		{"log_enabled", 1, one, (*guest).logEnabled},
		{"get_method", 2, one, (*guest).getMethod},
		{"set_method", 2, none, (*guest).setMethod},
		{"get_uri", 2, one, (*guest).getURI},
		{"set_uri", 2, none, (*guest).setURI},
		{"get_protocol_version", 2, one, (*guest).getProtocolVersion},
		{"get_source_addr", 2, one, (*guest).getSourceAddr},
		{"get_header_names", 3, two, (*guest).getHeaderNames},
		{"get_header_values", 5, two, (*guest).getHeaderValues},
		{"set_header_value", 5, none, (*guest).setHeaderValue},
		{"add_header_value", 5, none, (*guest).addHeaderValue},
		{"remove_header", 3, none, (*guest).removeHeader},
		{"read_body", 3, two, (*guest).readBody},
		{"write_body", 3, none, (*guest).writeBody},
		{"get_status_code", 0, one, (*guest).getStatusCode},
		{"set_status_code", 1, none, (*guest).setStatusCode},
	}
}

// Instantiate gives rt the module "http_handler", once per runtime. Its functions
// find the request in the context that [Call.Serve] makes.
func Instantiate(ctx context.Context, rt wazero.Runtime) error {
	b := rt.NewHostModuleBuilder(Module)
	for _, f := range functions() {
		params := make([]api.ValueType, f.params)
		for i := range params {
			params[i] = i32
		}
		b.NewFunctionBuilder().WithGoModuleFunction(f.bind(), params, f.results).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func (f function) bind() api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		for i := range stack[:f.params] {
			stack[i] = uint64(uint32(stack[i])) // the engine leaves garbage in the upper half
		}
		c, _ := ctx.Value(callKey{}).(*Call)
		if c == nil {
			c = new(Call) // while the guest initialises there is no request
		}
		if ctx.Err() != nil {
			trap(context.Cause(ctx))
		}
		if c.Check != nil && (f.long(stack) || c.calls%16 == 0) {
			c.Check()
		}
		c.calls++
		c.guest.Call, c.guest.mem = c, memory{mod.Memory()}
		if r := f.call(&c.guest, stack); len(f.results) > 0 {
			stack[0] = r
		}
	}
}

// long reports whether a call may take long: the last parameter is a size, where there
// are several.
func (f function) long(a []uint64) bool { return f.params > 1 && a[f.params-1] > 16<<10 }

type callKey struct{}
