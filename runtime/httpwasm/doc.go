// Package httpwasm is the host's side of the http-wasm HTTP handler ABI
// (https://http-wasm.io/http-handler-abi/): the functions of the module
// "http_handler" and the two calls handle_request and handle_response. It knows
// nothing of where instances come from.
//
// Where the specification leaves room:
//
//   - A guest that hands on (next=1) with nothing behind it gets a plain 404 from the
//     host, which handle_response sees like any other answer.
//   - Bodies stream. Written bytes are sent on within milliseconds; a write_body of no
//     bytes sends them at once.
//   - buffer_request keeps what the guest reads, for the next handler; buffer_response
//     holds the next handler's answer until handle_response has returned. Both end at
//     [MaxBuffer], beyond which the guest is stopped or the answer is refused.
//   - get_config returns the function's environment as a JSON object, or nothing if
//     it is empty.
//   - A pointer out of the guest's memory, a header field that is none, a status
//     outside 200 to 599 and a header over [host.MaxHeader] stop the guest.
//   - After the answer has begun, a change to its status or header stops the guest.
package httpwasm
